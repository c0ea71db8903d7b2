package scoring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/quality"
)

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

// scoreBySeveral runs the encoder at most once, then the panel or, without
// one, every head. It also serves a single checkpoint that has no ensemble.
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
	if w.panel != nil {
		err := w.judgePanel(ctx, alive)
		if !w.withoutPanel(ctx, err) {
			return err
		}
		if err := w.fetchTexts(ctx); err != nil {
			return err
		}
	}
	return w.judgeEach(ctx, alive)
}

// withoutPanel reports whether the heads have to do what the panel did not:
// its model is gone or computes nonsense. Heads are asked once, and a request
// that has no time left asks nobody.
func (w *work) withoutPanel(ctx context.Context, err error) bool {
	kind := quality.KindOf(err)
	if err == nil || ctx.Err() != nil || kind != quality.KindModelUnavailable && kind != quality.KindModelBadOutput {
		return false
	}
	w.models.Panels.Failed(*w.panel, err)
	w.panel = nil
	return true
}

// judgeEach asks every head. It fails when all of them do; otherwise those
// that fail keep their error for themselves.
func (w *work) judgeEach(ctx context.Context, subjects []*subject) error {
	faults := make([]error, len(w.request.Checkpoints))
	var group errgroup.Group
	group.SetLimit(8) // heads of one request asked at once
	for i := range w.request.Checkpoints {
		group.Go(func() error {
			if faults[i] = w.texts[i].err; faults[i] == nil {
				faults[i] = w.judge(ctx, i, subjects)
			}
			for _, s := range subjects {
				s.judged[i].err = faults[i]
			}
			return nil
		})
	}
	_ = group.Wait() // each keeps its own
	return unlessOne(ctx, faults, func(err error) error { return err })
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
			s.judged[0].Judgement = judged[i]
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
		judged, err := w.service.triton.Judge(ctx, c, w.texts[i].embeddings, embeddingsOf(subjects))
		if err != nil {
			return err
		}
		for k, s := range subjects {
			s.judged[i].Judgement = judged[k]
		}
		return nil
	})
}

// judgePanel lets the panel judge subjects whose embeddings are known. Which
// column is whose is for the panel's own value to say, so that a panel that is
// replaced meanwhile changes nothing. It fails when no checkpoint gave a
// usable number for any image.
func (w *work) judgePanel(ctx context.Context, subjects []*subject) error {
	return w.service.telemetry.run(ctx, w.timings, StagePanel, func(ctx context.Context, span trace.Span) error {
		span.SetAttributes(
			attribute.Int("agiqa.batch.size", len(subjects)), attribute.String("agiqa.panel.digest", w.panel.ID.String()),
			attribute.Int("agiqa.panel.columns", len(w.panel.Checkpoints)), attribute.Int("agiqa.checkpoints", len(w.request.Checkpoints)))
		rows, err := w.service.triton.JudgePanel(ctx, *w.panel, embeddingsOf(subjects))
		if err != nil {
			return err
		}
		var faults []error
		bad := 0
		for i, c := range w.request.Checkpoints {
			column, ok := w.panel.Column(c.Digest)
			if !ok {
				return quality.Errorf(quality.KindInternal, "checkpoint %s is not in the panel that was chosen for it", c.Name)
			}
			for k, s := range subjects {
				s.judged[i] = judged{Judgement: rows[k][column]}
				if err := s.judged[i].Check(); err != nil {
					s.judged[i].err = quality.Errorf(quality.KindModelBadOutput, "checkpoint %s: %v", c.Name, err)
					bad++
				}
				faults = append(faults, s.judged[i].err)
			}
		}
		span.SetAttributes(attribute.Int("agiqa.panel.faults", bad))
		return unlessOne(ctx, faults, func(err error) error { return err })
	})
}

func embeddingsOf(subjects []*subject) []quality.Embedding {
	embeddings := make([]quality.Embedding, len(subjects))
	for k, s := range subjects {
		embeddings[k] = s.embedding
	}
	return embeddings
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
