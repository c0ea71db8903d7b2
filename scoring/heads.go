package scoring

import (
	"context"
	"slices"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/quality"
)

// scoredRow is a row with its scores, one for each checkpoint of the request;
// that of a checkpoint without the row's view is empty. Where the row has an
// error there are none.
type scoredRow struct {
	row
	embedded
	scores []rowScore
}

// rowScore is the score of one row by one checkpoint, or Err.
type rowScore struct {
	quality.HeadScore
	TextCached bool // no text encoder ran for it
	Err        error
}

func (r scoredRow) needsHeads() bool { return r.err == nil && r.scores == nil }

// heads score embeddings.
type heads struct {
	triton    Triton
	telemetry *telemetry
}

// headsAtOnce bounds how many heads one request asks at a time.
const headsAtOnce = 8

// score scores the rows that no ensemble has scored.
func (h *heads) score(ctx context.Context, p plan, rows []row, embedded []embedded) ([]scoredRow, error) {
	out := make([]scoredRow, len(rows))
	scores := make([][]rowScore, len(rows))
	for i, r := range rows {
		out[i] = scoredRow{row: r, embedded: embedded[i], scores: embedded[i].ensembleScores}
		scores[i] = out[i].scores
	}
	err := applyTo(out, scoredRow.needsHeads, scores, func(rows []scoredRow) ([][]rowScore, error) {
		return h.ask(ctx, p, rows)
	})
	for i := range out {
		out[i].scores = scores[i]
	}
	return out, err
}

// ask asks the panel or, where there is none or it fails, every head. It
// returns a slice for each row, in it a score per checkpoint of the request.
func (h *heads) ask(ctx context.Context, p plan, rows []scoredRow) ([][]rowScore, error) {
	if p.panel == nil {
		return h.askEach(ctx, p, rows)
	}
	scores, err := h.askPanel(ctx, p, rows)
	if !panelFailed(ctx, err) {
		return scores, err
	}
	p.models.Panels.Failed(*p.panel, err)
	return h.askEach(ctx, p, rows)
}

// forRows is room for the scores of rows by every checkpoint.
func (p plan) forRows(rows []scoredRow) [][]rowScore {
	scores := make([][]rowScore, len(rows))
	for i := range scores {
		scores[i] = make([]rowScore, len(p.Checkpoints))
	}
	return scores
}

// rowsFor are the places of the rows whose view c has.
func rowsFor(c quality.Checkpoint, rows []scoredRow) []int {
	var places []int
	views := c.Views.List()
	for i, r := range rows {
		if slices.Contains(views, r.view) {
			places = append(places, i)
		}
	}
	return places
}

// panelFailed reports whether the heads have to do what the panel did not:
// its model is gone or computes nonsense. Heads are asked once, and a request
// that has no time left asks nobody.
func panelFailed(ctx context.Context, err error) bool {
	kind := quality.KindOf(err)
	return err != nil && ctx.Err() == nil && (kind == quality.KindModelUnavailable || kind == quality.KindModelBadOutput)
}

// askPanel has the panel score all rows: a checkpoint's numbers for views that
// it doesn't have cost nothing and are dropped. Which column is whose is for the
// panel's own value to say, so that a panel that is replaced meanwhile changes
// nothing. It fails when no checkpoint gave a usable number for any row.
func (h *heads) askPanel(ctx context.Context, p plan, rows []scoredRow) ([][]rowScore, error) {
	embeddings := make([]quality.Embedding, len(rows))
	for i, r := range rows {
		embeddings[i] = r.embedding
	}
	scores := p.forRows(rows)
	return scores, h.telemetry.run(ctx, p.timings, StagePanel, func(ctx context.Context, span trace.Span) error {
		span.SetAttributes(
			attribute.Int("agiqa.batch.size", len(embeddings)), attribute.Int("agiqa.checkpoints", len(p.Checkpoints)),
			attribute.String("agiqa.panel.digest", p.panel.ID.String()),
			attribute.Int("agiqa.panel.columns", len(p.panel.Checkpoints)))
		results, err := h.triton.ScorePanel(ctx, p.models.Encoder, *p.panel, embeddings)
		if err != nil {
			return err
		}
		var faults []error
		bad := 0
		for k, c := range p.Checkpoints {
			column, ok := p.panel.Column(c.Digest)
			if !ok {
				return quality.Errorf(quality.KindInternal, "checkpoint %s is not in the panel that was chosen for it", c.Name)
			}
			for _, i := range rowsFor(c, rows) {
				s := rowScore{TextCached: true, HeadScore: results[i][column]}
				if err := s.Check(); err != nil { // nobody finds a number that is none
					s.Err = quality.Errorf(quality.KindModelBadOutput, "checkpoint %s: %v", c.Name, err)
					s.HeadScore = quality.HeadScore{}
					bad++
				}
				scores[i][k], faults = s, append(faults, s.Err)
			}
		}
		span.SetAttributes(attribute.Int("agiqa.panel.faults", bad))
		return unlessOne(ctx, faults)
	})
}

// askEach asks every head for the rows of its views. It fails when all of them
// do; otherwise those that fail have their error in every row.
func (h *heads) askEach(ctx context.Context, p plan, rows []scoredRow) ([][]rowScore, error) {
	texts, err := p.texts()
	if err != nil {
		return nil, err
	}
	scores := p.forRows(rows)
	faults := make([]error, len(p.Checkpoints))
	var group errgroup.Group
	group.SetLimit(headsAtOnce)
	for k, c := range p.Checkpoints {
		group.Go(func() error {
			places := rowsFor(c, rows)
			if c.Prompt {
				own := make([]scoredRow, len(places))
				for n, i := range places {
					own[n] = rows[i]
				}
				var results []rowScore
				results, faults[k] = h.askWithPrompts(ctx, p, c, texts[k], own)
				for n, i := range places {
					if scores[i][k] = results[n]; faults[k] != nil {
						scores[i][k] = rowScore{TextCached: results[n].TextCached, Err: faults[k]}
					}
				}
				return nil
			}
			embeddings := make([]quality.Embedding, len(places))
			for n, i := range places {
				embeddings[n] = rows[i].embedding
			}
			var results []quality.HeadScore
			results, faults[k] = h.askOne(ctx, p, c, texts[k], embeddings)
			for n, i := range places {
				scores[i][k] = rowScore{TextCached: texts[k].cached, Err: faults[k]}
				if faults[k] == nil {
					scores[i][k].HeadScore = results[n]
				}
			}
			return nil
		})
	}
	_ = group.Wait() // each keeps its own
	return scores, unlessOne(ctx, faults)
}

// askOne has the head of c score embeddings, if there are any.
func (h *heads) askOne(
	ctx context.Context, p plan, c quality.Checkpoint, t text, embeddings []quality.Embedding,
) (results []quality.HeadScore, err error) {
	if t.err != nil || len(embeddings) == 0 {
		return nil, t.err
	}
	err = h.telemetry.run(ctx, p.timings, StageHead, func(ctx context.Context, span trace.Span) (err error) {
		span.SetAttributes(attribute.Int("agiqa.batch.size", len(embeddings)),
			attribute.String("agiqa.checkpoint.digest", c.Digest.String()))
		results, err = h.triton.Score(ctx, p.models.Encoder, c, t.embeddings, embeddings)
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
