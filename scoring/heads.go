package scoring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/quality"
)

// scored is an image with its scores by checkpoint, at least one of them
// without an error; where the image has an error there are none.
type scored struct {
	embedded
	scores []CheckpointScore
}

// heads score embeddings.
type heads struct {
	triton    Triton
	telemetry *telemetry
}

// headsAtOnce bounds how many heads one request asks at a time.
const headsAtOnce = 8

// score scores the images that no ensemble has scored. An image to which no
// checkpoint gave a number has the first one's error.
func (h *heads) score(ctx context.Context, p plan, images []embedded) ([]scored, error) {
	rows := make([][]CheckpointScore, len(images))
	for i, one := range images {
		rows[i] = one.ensembleScores
	}
	err := applyTo(images, embedded.needsHeads, rows, func(images []embedded) ([][]CheckpointScore, error) {
		return h.ask(ctx, p, images)
	})
	if err != nil {
		return nil, err
	}
	out := make([]scored, len(images))
	for i, one := range images {
		if one.err == nil {
			one.err = everyFault(rows[i])
		}
		out[i] = scored{one, rows[i]}
	}
	return out, nil
}

// ask asks the panel or, where there is none or it fails, every head. It
// returns a row per image, in it a score per checkpoint of the request.
func (h *heads) ask(ctx context.Context, p plan, images []embedded) ([][]CheckpointScore, error) {
	embeddings := make([]quality.Embedding, len(images))
	for i, one := range images {
		embeddings[i] = one.embedding
	}
	if p.panel == nil {
		return h.askEach(ctx, p, embeddings)
	}
	rows, err := h.askPanel(ctx, p, embeddings)
	if !panelFailed(ctx, err) {
		return rows, err
	}
	p.models.Panels.Failed(*p.panel, err)
	return h.askEach(ctx, p, embeddings)
}

// panelFailed reports whether the heads have to do what the panel did not:
// its model is gone or computes nonsense. Heads are asked once, and a request
// that has no time left asks nobody.
func panelFailed(ctx context.Context, err error) bool {
	kind := quality.KindOf(err)
	return err != nil && ctx.Err() == nil && (kind == quality.KindModelUnavailable || kind == quality.KindModelBadOutput)
}

// askPanel has the panel score embeddings. Which column is whose is for the
// panel's own value to say, so that a panel that is replaced meanwhile changes
// nothing. It fails when no checkpoint gave a usable number for any image.
func (h *heads) askPanel(ctx context.Context, p plan, embeddings []quality.Embedding) ([][]CheckpointScore, error) {
	rows := make([][]CheckpointScore, len(embeddings))
	return rows, h.telemetry.run(ctx, p.timings, StagePanel, func(ctx context.Context, span trace.Span) error {
		span.SetAttributes(
			attribute.Int("agiqa.batch.size", len(embeddings)), attribute.Int("agiqa.checkpoints", len(p.Checkpoints)),
			attribute.String("agiqa.panel.digest", p.panel.ID.String()),
			attribute.Int("agiqa.panel.columns", len(p.panel.Checkpoints)))
		results, err := h.triton.ScorePanel(ctx, *p.panel, embeddings)
		if err != nil {
			return err
		}
		var faults []error
		bad := 0
		for _, c := range p.Checkpoints {
			column, ok := p.panel.Column(c.Digest)
			if !ok {
				return quality.Errorf(quality.KindInternal, "checkpoint %s is not in the panel that was chosen for it", c.Name)
			}
			for i := range rows {
				s := CheckpointScore{Checkpoint: c, TextCached: true, HeadScore: results[i][column]}
				if err := s.Check(); err != nil { // nobody finds a number that is none
					s.Err = quality.Errorf(quality.KindModelBadOutput, "checkpoint %s: %v", c.Name, err)
					s.HeadScore = quality.HeadScore{}
					bad++
				}
				rows[i], faults = append(rows[i], s), append(faults, s.Err)
			}
		}
		span.SetAttributes(attribute.Int("agiqa.panel.faults", bad))
		return unlessOne(ctx, faults)
	})
}

// askEach asks every head. It fails when all of them do; otherwise those that
// fail have their error in every row.
func (h *heads) askEach(ctx context.Context, p plan, embeddings []quality.Embedding) ([][]CheckpointScore, error) {
	texts, err := p.texts()
	if err != nil {
		return nil, err
	}
	rows := make([][]CheckpointScore, len(embeddings))
	for i := range rows {
		rows[i] = make([]CheckpointScore, len(p.Checkpoints))
	}
	faults := make([]error, len(p.Checkpoints))
	var group errgroup.Group
	group.SetLimit(headsAtOnce)
	for k, c := range p.Checkpoints {
		group.Go(func() error {
			var results []quality.HeadScore
			results, faults[k] = h.askOne(ctx, p, c, texts[k], embeddings)
			for i := range rows {
				rows[i][k] = CheckpointScore{Checkpoint: c, TextCached: texts[k].cached, Err: faults[k]}
				if faults[k] == nil {
					rows[i][k].HeadScore = results[i]
				}
			}
			return nil
		})
	}
	_ = group.Wait() // each keeps its own
	return rows, unlessOne(ctx, faults)
}

// askOne has the head of c score embeddings.
func (h *heads) askOne(
	ctx context.Context, p plan, c quality.Checkpoint, t text, embeddings []quality.Embedding,
) (results []quality.HeadScore, err error) {
	if t.err != nil {
		return nil, t.err
	}
	err = h.telemetry.run(ctx, p.timings, StageHead, func(ctx context.Context, span trace.Span) (err error) {
		span.SetAttributes(attribute.Int("agiqa.batch.size", len(embeddings)),
			attribute.String("agiqa.checkpoint.digest", c.Digest.String()))
		results, err = h.triton.Score(ctx, c, t.embeddings, embeddings)
		return err
	})
	return results, err
}

// everyFault returns the first error where there is nothing but errors.
func everyFault(scores []CheckpointScore) error {
	for _, s := range scores {
		if s.Err == nil {
			return nil
		}
	}
	return scores[0].Err
}
