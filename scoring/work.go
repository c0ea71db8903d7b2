package scoring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// work is one request on its way through the stages. A subject is a distinct
// image: the same file sent twice in a request is worked on once.
type work struct {
	service  *Service
	request  Request
	models   *Models
	timings  *Timings
	panel    *quality.Panel // nil: heads one by one
	subjects []*subject
	byItem   []*subject // nil where the item came with an error
	texts    []text     // by checkpoint
}

type subject struct {
	imageprep.Inspected
	pixels    quality.Pixels
	decoder   string
	embedding quality.Embedding
	cached    bool
	judged    []judged // by checkpoint
	err       error
	group     *coalescingGroup // of an image that is not known
	leads     bool             // the group
}

type judged struct {
	quality.Judgement
	err error
}

type text struct {
	embeddings quality.TextEmbeddings
	cached     bool
	err        error
}

// admit reads headers and looks embeddings up, which is cheap and says what the
// request will cost, and takes a turn for it. Nothing is decoded for a Triton
// that is known to be gone.
func (w *work) admit(ctx context.Context) (release func(), err error) {
	w.sniff(ctx)
	if len(w.alive()) == 0 {
		return func() {}, nil
	}
	w.lookup(ctx)
	cost := 0.0
	for _, s := range w.alive() {
		if !s.cached {
			cost += s.DecodeCost() + costOfImage
		}
	}
	if cost > 0 {
		if err := w.service.available(); err != nil {
			return nil, err
		}
	}
	waited := false
	err = w.service.telemetry.run(ctx, w.timings, StageAdmission, func(ctx context.Context, _ trace.Span) (err error) {
		release, waited, err = w.service.admission.acquire(ctx, cost)
		return err
	})
	if waited && err == nil {
		w.lookup(ctx) // others may have brought it meanwhile
	}
	return release, err
}

// run scores what this request works on itself, and then what other requests
// have worked on meanwhile.
func (w *work) run(ctx context.Context) error {
	followed := w.claim()
	defer w.settle() // whatever happens, nobody waits in vain
	err := w.score(ctx)
	w.settle()
	if len(followed) == 0 {
		return err
	}
	if err != nil {
		for _, s := range followed {
			w.service.coalescer.leave(s.group)
		}
		return err
	}
	if err := w.follow(ctx, followed); err != nil {
		return err
	}
	return w.score(ctx)
}

// score takes the stages in order. Text embeddings and images do not depend on
// each other and are fetched side by side.
func (w *work) score(ctx context.Context) error {
	if len(w.alive()) == 0 {
		return nil
	}
	w.choosePanel()
	group, gctx := errgroup.WithContext(ctx)
	if w.panel == nil { // a panel's texts are part of it
		group.Go(func() error { return w.fetchTexts(gctx) })
	}
	group.Go(func() error { return w.prepare(gctx) })
	if err := group.Wait(); err != nil {
		return err
	}
	if len(w.request.Checkpoints) == 1 && !w.request.Checkpoints[0].HeadOnly {
		return w.scoreByOne(ctx)
	}
	return w.scoreBySeveral(ctx)
}

// choosePanel takes a panel that has all the checkpoints, if there is one.
func (w *work) choosePanel() {
	if w.models.Panels == nil || len(w.request.Checkpoints) < 2 {
		return
	}
	if p, ok := w.models.Panels.Cover(w.request.Checkpoints); ok && p.Encoder == w.models.Encoder.Digest {
		w.panel = &p
	}
}

// sniff is the stage that looks at files without decoding them.
func (w *work) sniff(ctx context.Context) {
	_ = w.service.telemetry.run(ctx, w.timings, StageSniff, func(_ context.Context, span trace.Span) error {
		w.inspect()
		span.SetAttributes(attribute.Int("agiqa.images", len(w.byItem)), attribute.Int("agiqa.images.distinct", len(w.subjects)))
		return nil
	})
}

// inspect reads headers and groups equal images.
func (w *work) inspect() {
	w.byItem = make([]*subject, len(w.request.Items))
	seen := map[quality.Digest]*subject{}
	for i, item := range w.request.Items {
		if item.Err != nil {
			continue
		}
		in, err := w.service.preparer.Inspect(item.Data)
		if err == nil && seen[in.Info.Digest] != nil {
			w.byItem[i] = seen[in.Info.Digest]
			continue
		}
		sub := &subject{Inspected: in, err: err, judged: make([]judged, len(w.request.Checkpoints))}
		if err == nil {
			seen[in.Info.Digest] = sub
		}
		w.byItem[i] = sub
		w.subjects = append(w.subjects, sub)
	}
}

// alive returns the subjects without an error.
func (w *work) alive() []*subject {
	var out []*subject
	for _, s := range w.subjects {
		if s.err == nil {
			out = append(out, s)
		}
	}
	return out
}

// fetchTexts fails when no checkpoint's texts are to be had; otherwise those
// that fail are left out.
func (w *work) fetchTexts(ctx context.Context) error {
	w.texts = make([]text, len(w.request.Checkpoints))
	return w.service.telemetry.run(ctx, w.timings, StageTexts, func(ctx context.Context, span trace.Span) error {
		var group errgroup.Group
		for i, c := range w.request.Checkpoints {
			group.Go(func() error {
				t := &w.texts[i]
				t.embeddings, t.cached, t.err = w.models.Texts.TextEmbeddings(ctx, c)
				return nil
			})
		}
		_ = group.Wait() // each keeps its own
		return unlessOne(ctx, w.texts, func(t text) error { return t.err })
	})
}

// unlessOne returns nil if any element has no error and ctx still goes on,
// else the first error.
func unlessOne[E any](ctx context.Context, elements []E, errOf func(E) error) error {
	var first error
	for _, e := range elements {
		err := errOf(e)
		if err == nil && ctx.Err() == nil {
			return nil
		}
		if first == nil {
			first = err
		}
	}
	if first == nil {
		first = context.Cause(ctx)
	}
	return first
}

// lookupsAtOnce bounds what one request asks of the cache at a time.
const lookupsAtOnce = 16

func (w *work) lookup(ctx context.Context) {
	if w.models.Embeddings == nil {
		return
	}
	_ = w.service.telemetry.run(ctx, w.timings, StageLookup, func(ctx context.Context, span trace.Span) error {
		var group errgroup.Group
		group.SetLimit(lookupsAtOnce)
		for _, s := range w.alive() {
			if s.cached {
				continue
			}
			group.Go(func() error {
				s.embedding, s.cached = w.models.Embeddings.Lookup(ctx, w.key(s))
				return nil
			})
		}
		_ = group.Wait() // a lookup does not fail
		hits := 0
		for _, s := range w.alive() {
			if s.cached {
				hits++
			}
		}
		span.SetAttributes(attribute.Int("agiqa.cache.hits", hits), attribute.Int("agiqa.images", len(w.subjects)))
		return nil
	})
}

func (w *work) key(s *subject) quality.EmbeddingKey {
	return quality.EmbeddingKey{Image: s.Info.Digest, Preprocess: w.service.preparer.ID(w.request.Preprocess), Encoder: w.models.Encoder.Digest}
}

// prepare decodes what the cache does not know. An image's own fault stays
// with the image; a context that ended ends the request.
func (w *work) prepare(ctx context.Context) error {
	var missing []*subject
	for _, s := range w.alive() {
		if !s.cached {
			missing = append(missing, s)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return w.service.telemetry.run(ctx, w.timings, StagePrepare, func(ctx context.Context, span trace.Span) error {
		group, gctx := errgroup.WithContext(ctx)
		group.SetLimit(cap(w.service.decoders))
		for _, s := range missing {
			group.Go(func() error {
				image, err := w.service.prepareOne(gctx, w.timings, s.Inspected, w.request.Preprocess)
				s.pixels, s.decoder, s.err = image.Pixels, image.Decoder, err
				if gctx.Err() != nil {
					return context.Cause(gctx)
				}
				return nil
			})
		}
		return group.Wait()
	})
}
