package scoring

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/quality"
)

// promptsAtOnce bounds how many prompts one request asks for at a time.
const promptsAtOnce = 16

// promptText is what became of the embedding of a picture's prompt.
type promptText struct {
	embedding quality.Embedding
	cached    bool // no text encoder ran for it
	err       error
}

// readsPrompts reports whether a checkpoint of the request reads prompts of
// pictures.
func (r Request) readsPrompts() bool {
	return slices.ContainsFunc(r.Checkpoints, func(c quality.Checkpoint) bool { return c.Prompt })
}

// checkPrompts reports a request whose prompts don't fit its checkpoints: one is
// missing, or nobody reads them. The error is of kind bad_request.
func checkPrompts(req Request, encoder quality.Encoder) error {
	var without []string
	prompted := false
	for _, item := range req.Items {
		switch {
		case item.Prompt != "":
			prompted = true
		case item.Err == nil:
			without = append(without, item.ID)
		}
	}
	reader := slices.IndexFunc(req.Checkpoints, func(c quality.Checkpoint) bool { return c.Prompt })
	switch {
	case reader >= 0 && len(without) > 0:
		const most = 8
		names := strings.Join(without[:min(most, len(without))], ", ")
		if len(without) > most {
			names += ", ..."
		}
		return quality.Errorf(quality.KindBadRequest,
			"checkpoint %s needs the prompt that each image was made from; without one: image %s",
			req.Checkpoints[reader].Name, quality.Quote(names))
	case reader < 0 && prompted && encoder.TextCapability != quality.TextGeneral:
		return quality.Errorf(quality.KindBadRequest,
			"the request has a prompt, which no checkpoint of this server can read: the text tower of its encoder %s "+
				"knows quality words only. Serve an encoder with a general text tower, such as agiqa-train export-encoders "+
				"--source hf:openai/clip-vit-base-patch16 writes, and a prompt-aware checkpoint trained on it", encoder.Name)
	case reader < 0 && prompted:
		return quality.Errorf(quality.KindBadRequest,
			"the request has a prompt, which checkpoint %s doesn't read: leave it out, or name a checkpoint of task %s",
			req.Checkpoints[0].Name, quality.TaskAlignment)
	}
	return nil
}

// fetchPrompts returns the embeddings of the request's prompts; those that fail
// have their error.
func (s *Service) fetchPrompts(ctx context.Context, j *job) map[string]promptText {
	var prompts []string
	for _, item := range j.Items {
		if item.Err == nil && !slices.Contains(prompts, item.Prompt) {
			prompts = append(prompts, item.Prompt)
		}
	}
	found := make([]promptText, len(prompts))
	_ = s.telemetry.run(ctx, j.timings, StageTexts, func(ctx context.Context, span trace.Span) error {
		span.SetAttributes(attribute.Int("agiqa.prompts", len(prompts)))
		var group errgroup.Group
		group.SetLimit(promptsAtOnce)
		for i, prompt := range prompts {
			group.Go(func() error {
				e, cached, err := j.models.Prompts.PromptEmbedding(ctx, prompt)
				found[i] = promptText{e, cached, err}
				return nil
			})
		}
		return group.Wait() // each keeps its own error
	})
	out := make(map[string]promptText, len(prompts))
	for i, prompt := range prompts {
		out[prompt] = found[i]
	}
	return out
}

// askWithPrompts has the head of c, which reads prompts, score rows, each with
// the prompt of its picture. A row whose prompt has no embedding has that error.
// The error of the call is that of the head, or that of the prompts where all
// fail by no fault of their own.
func (h *heads) askWithPrompts(
	ctx context.Context, p plan, c quality.Checkpoint, t text, rows []scoredRow,
) ([]rowScore, error) {
	out := make([]rowScore, len(rows))
	if t.err != nil || len(rows) == 0 {
		return out, t.err
	}
	texts := p.prompts()
	prompts := make([]promptText, len(rows))
	for i, r := range rows {
		prompts[i] = texts[r.prompt]
		out[i].TextCached, out[i].Err = t.cached && prompts[i].cached, prompts[i].err
	}
	err := applyTo(rows, func(r scoredRow) bool { return texts[r.prompt].err == nil }, out,
		func(rows []scoredRow) ([]rowScore, error) {
			images, embeddings := make([]quality.Embedding, len(rows)), make([]quality.Embedding, len(rows))
			scores := make([]rowScore, len(rows))
			for i, r := range rows {
				images[i], embeddings[i] = r.embedding, texts[r.prompt].embedding
				scores[i].TextCached = t.cached && texts[r.prompt].cached
			}
			return scores, h.telemetry.run(ctx, p.timings, StageHead, func(ctx context.Context, span trace.Span) error {
				span.SetAttributes(attribute.Int("agiqa.batch.size", len(rows)),
					attribute.String("agiqa.checkpoint.digest", c.Digest.String()))
				results, err := h.triton.ScoreWithPrompts(ctx, p.models.Encoder, c, t.embeddings, images, embeddings)
				for i, s := range results {
					scores[i].HeadScore = s
				}
				return err
			})
		})
	if err != nil {
		return out, err
	}
	return out, everyPromptFailed(prompts)
}

// everyPromptFailed returns the first error that isn't a prompt's own fault,
// where no prompt has an embedding.
func everyPromptFailed(prompts []promptText) error {
	var first error
	for _, p := range prompts {
		switch {
		case p.err == nil:
			return nil
		case !slices.Contains(ownFaults, quality.KindOf(p.err)):
			first = cmp.Or(first, p.err)
		}
	}
	return first
}

// ownFaults are what is wrong with a prompt itself.
var ownFaults = []quality.Kind{quality.KindPromptTooLong, quality.KindBadRequest, quality.KindInvalidUTF8}
