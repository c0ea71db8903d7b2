package scoring

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"
)

// lookupsAtOnce bounds what one request asks of the cache at a time.
const lookupsAtOnce = 16

// lookUp asks the cache for the embeddings that are missing. It comes before
// admission, since what is known costs next to nothing.
func (s *Service) lookUp(ctx context.Context, j *job, rows []row) []row {
	if j.models.Embeddings == nil {
		return rows
	}
	out := slices.Clone(rows)
	_ = s.telemetry.run(ctx, j.timings, StageLookup, func(ctx context.Context, span trace.Span) error {
		var group errgroup.Group
		group.SetLimit(lookupsAtOnce)
		for i := range out {
			if out[i].found() {
				continue
			}
			group.Go(func() error {
				if e, ok := j.models.Embeddings.Lookup(ctx, j.key(out[i])); ok {
					out[i].known = e
				}
				return nil
			})
		}
		_ = group.Wait() // a lookup does not fail
		hits := 0
		for _, r := range out {
			if r.found() {
				hits++
			}
		}
		span.SetAttributes(attribute.Int("agiqa.cache.hits", hits), attribute.Int("agiqa.rows", len(out)))
		return nil
	})
	return out
}

// cacheFirst is an embedder that takes what the cache knew and has next embed
// the rest.
type cacheFirst struct{ next embedder }

func (c cacheFirst) embed(ctx context.Context, p plan, rows []row) ([]embedded, error) {
	out := make([]embedded, len(rows))
	for i, r := range rows {
		out[i] = embedded{embedding: r.known, cached: true}
	}
	err := applyTo(rows, row.missing, out, func(missing []row) ([]embedded, error) {
		return c.next.embed(ctx, p, missing)
	})
	return out, err
}
