package scoring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
)

// embedder finds the embeddings of rows: one result per row, in order. An
// image's own fault is in the results of its rows; an error concerns the whole
// call.
//
// Each embedder wraps the next: cacheFirst, coalescing, encoding. Batching
// wraps the Triton that encoding calls.
type embedder interface {
	embed(ctx context.Context, p plan, rows []row) ([]embedded, error)
}

// embedded is what became of a row.
type embedded struct {
	embedding      quality.Embedding
	decoder        string     // what decoded it for this request
	cached         bool       // no encoder ran for it in this request
	ensembleScores []rowScore // the one of the ensemble that embedded it, else nil
	err            error      // the image's own fault
}

// encoding decodes images and has Triton embed them.
type encoding struct {
	decoding  *decoding
	triton    Triton
	telemetry *telemetry
}

func (e *encoding) embed(ctx context.Context, p plan, rows []row) ([]embedded, error) {
	ready, err := e.decoding.prepare(ctx, p.job, rows)
	if err != nil {
		return nil, err
	}
	out := make([]embedded, len(ready))
	for i, one := range ready {
		out[i] = embedded{decoder: one.decoder, err: one.err}
	}
	err = applyTo(ready, prepared.sound, out, func(sound []prepared) ([]embedded, error) {
		return e.encode(ctx, p, sound)
	})
	return out, err
}

// encode embeds decoded rows, and scores them in the same call where there is
// an ensemble.
func (e *encoding) encode(ctx context.Context, p plan, rows []prepared) ([]embedded, error) {
	out, pixels := make([]embedded, len(rows)), make([]quality.Pixels, len(rows))
	for i, one := range rows {
		out[i].decoder, pixels[i] = one.decoder, one.pixels
	}
	keep := func(ctx context.Context, embeddings []quality.Embedding) {
		for i, one := range rows {
			out[i].embedding = embeddings[i]
			if p.models.Embeddings != nil {
				p.models.Embeddings.Store(ctx, p.key(one.row), embeddings[i])
			}
		}
		e.telemetry.countEncoded(ctx, rows)
	}
	size := attribute.Int("agiqa.batch.size", len(rows))
	if !p.ensemble() {
		return out, e.telemetry.run(ctx, p.timings, StageEncode, func(ctx context.Context, span trace.Span) error {
			span.SetAttributes(size)
			embeddings, err := e.triton.EncodeImages(ctx, p.models.Encoder, pixels)
			if err == nil {
				keep(ctx, embeddings)
			}
			return err
		})
	}
	texts, err := p.texts()
	if err != nil {
		return nil, err
	}
	return out, e.telemetry.run(ctx, p.timings, StageEnsemble, func(ctx context.Context, span trace.Span) error {
		c := p.Checkpoints[0]
		span.SetAttributes(size, attribute.String("agiqa.checkpoint.digest", c.Digest.String()))
		results, embeddings, err := e.triton.EmbedAndScore(ctx, p.models.Encoder, c, texts[0].embeddings, pixels)
		if err != nil {
			return err
		}
		keep(ctx, embeddings)
		for i := range out {
			out[i].ensembleScores = []rowScore{{HeadScore: results[i], TextCached: texts[0].cached}}
		}
		return nil
	})
}
