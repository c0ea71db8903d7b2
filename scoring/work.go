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
	judged    []quality.Judgement // by checkpoint
	err       error
}

type text struct {
	embeddings quality.TextEmbeddings
	cached     bool
}

// run takes the stages in order. Text embeddings and images do not depend on
// each other and are fetched side by side.
func (w *work) run(ctx context.Context) error {
	w.inspect()
	if len(w.alive()) == 0 {
		return nil
	}
	group, gctx := errgroup.WithContext(ctx)
	group.Go(func() error { return w.fetchTexts(gctx) })
	group.Go(func() error {
		w.lookup(gctx)
		return w.prepare(gctx)
	})
	if err := group.Wait(); err != nil {
		return err
	}
	if len(w.request.Checkpoints) == 1 && !w.request.Checkpoints[0].HeadOnly {
		return w.scoreByOne(ctx)
	}
	return w.scoreBySeveral(ctx)
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
		sub := &subject{Inspected: in, err: err, judged: make([]quality.Judgement, len(w.request.Checkpoints))}
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

func (w *work) fetchTexts(ctx context.Context) error {
	w.texts = make([]text, len(w.request.Checkpoints))
	return w.service.telemetry.run(ctx, w.timings, StageTexts, func(ctx context.Context, span trace.Span) error {
		group, gctx := errgroup.WithContext(ctx)
		for i, c := range w.request.Checkpoints {
			group.Go(func() (err error) {
				w.texts[i].embeddings, w.texts[i].cached, err = w.models.Texts.TextEmbeddings(gctx, c)
				return err
			})
		}
		return group.Wait()
	})
}

func (w *work) lookup(ctx context.Context) {
	if w.models.Embeddings == nil {
		return
	}
	_ = w.service.telemetry.run(ctx, w.timings, StageLookup, func(ctx context.Context, span trace.Span) error {
		hits := 0
		for _, s := range w.alive() {
			if s.embedding, s.cached = w.models.Embeddings.Lookup(ctx, w.key(s)); s.cached {
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
				image, err := w.service.prepareOne(gctx, s.Inspected, w.request.Preprocess)
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

// split separates the images that need the encoder from those that do not.
func (w *work) split() (fresh, cached []*subject) {
	for _, s := range w.alive() {
		if s.cached {
			cached = append(cached, s)
		} else {
			fresh = append(fresh, s)
		}
	}
	return fresh, cached
}

// scoreByOne asks the ensemble for fresh images and the head alone for the
// others, side by side.
func (w *work) scoreByOne(ctx context.Context) error {
	fresh, cached := w.split()
	group, gctx := errgroup.WithContext(ctx)
	if len(fresh) > 0 {
		group.Go(func() error { return w.ensemble(gctx, fresh) })
	}
	if len(cached) > 0 {
		group.Go(func() error { return w.judge(gctx, 0, cached) })
	}
	return group.Wait()
}

// scoreBySeveral runs the encoder at most once, then every head. It also
// serves a single checkpoint that has no ensemble.
func (w *work) scoreBySeveral(ctx context.Context) error {
	fresh, _ := w.split()
	if len(fresh) > 0 {
		if err := w.encode(ctx, fresh); err != nil {
			return err
		}
	}
	alive := w.alive()
	if len(alive) == 0 {
		return nil
	}
	group, gctx := errgroup.WithContext(ctx)
	group.SetLimit(8) // heads of one request asked at once
	for i := range w.request.Checkpoints {
		group.Go(func() error { return w.judge(gctx, i, alive) })
	}
	return group.Wait()
}

func (w *work) ensemble(ctx context.Context, subjects []*subject) error {
	return w.service.telemetry.run(ctx, w.timings, StageEnsemble, func(ctx context.Context, span trace.Span) error {
		c := w.request.Checkpoints[0]
		span.SetAttributes(attribute.Int("agiqa.batch.size", len(subjects)), attribute.String("agiqa.checkpoint.digest", c.Digest.String()))
		judged, embeddings, err := w.service.triton.EmbedAndJudge(ctx, c, w.texts[0].embeddings, pixelsOf(subjects))
		if err != nil {
			return err
		}
		for i, s := range subjects {
			s.judged[0] = judged[i]
		}
		w.keep(ctx, subjects, embeddings)
		return nil
	})
}

func (w *work) encode(ctx context.Context, subjects []*subject) error {
	return w.service.telemetry.run(ctx, w.timings, StageEncode, func(ctx context.Context, span trace.Span) error {
		span.SetAttributes(attribute.Int("agiqa.batch.size", len(subjects)))
		embeddings, err := w.service.triton.EncodeImages(ctx, pixelsOf(subjects))
		if err != nil {
			return err
		}
		w.keep(ctx, subjects, embeddings)
		return nil
	})
}

// judge lets checkpoint i judge subjects whose embeddings are known.
func (w *work) judge(ctx context.Context, i int, subjects []*subject) error {
	return w.service.telemetry.run(ctx, w.timings, StageJudge, func(ctx context.Context, span trace.Span) error {
		c := w.request.Checkpoints[i]
		span.SetAttributes(attribute.Int("agiqa.batch.size", len(subjects)), attribute.String("agiqa.checkpoint.digest", c.Digest.String()))
		embeddings := make([]quality.Embedding, len(subjects))
		for k, s := range subjects {
			embeddings[k] = s.embedding
		}
		judged, err := w.service.triton.Judge(ctx, c, w.texts[i].embeddings, embeddings)
		if err != nil {
			return err
		}
		for k, s := range subjects {
			s.judged[i] = judged[k]
		}
		return nil
	})
}

// keep remembers fresh embeddings for this request and for later ones.
func (w *work) keep(ctx context.Context, subjects []*subject, embeddings []quality.Embedding) {
	for i, s := range subjects {
		s.embedding = embeddings[i]
		if w.models.Embeddings != nil {
			w.models.Embeddings.Store(ctx, w.key(s), s.embedding)
		}
	}
}

func pixelsOf(subjects []*subject) []quality.Pixels {
	pixels := make([]quality.Pixels, len(subjects))
	for i, s := range subjects {
		pixels[i] = s.pixels
	}
	return pixels
}

// results copies the outcome of each subject to the items that it stands for.
func (w *work) results() []ImageResult {
	out := make([]ImageResult, len(w.request.Items))
	for i, item := range w.request.Items {
		out[i] = ImageResult{ID: item.ID, Err: item.Err}
		s := w.byItem[i]
		if s == nil {
			continue
		}
		out[i].Info, out[i].Decoder, out[i].Err = s.Info, s.decoder, s.err
		if s.err != nil {
			continue
		}
		out[i].Embedding, out[i].EmbeddingCached = s.embedding, s.cached
		out[i].Verdicts = make([]Verdict, len(w.request.Checkpoints))
		for k, c := range w.request.Checkpoints {
			out[i].Verdicts[k] = Verdict{Checkpoint: c, Judgement: s.judged[k], TextCached: w.texts[k].cached}
		}
	}
	return out
}

func (w *work) count(ctx context.Context) {
	for i, s := range w.byItem {
		if s == nil {
			w.service.telemetry.countImage(ctx, "", w.request.Items[i].Err)
		} else {
			w.service.telemetry.countImage(ctx, s.Info.Format, s.err)
		}
	}
}
