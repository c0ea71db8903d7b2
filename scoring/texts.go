package scoring

import (
	"cmp"
	"context"
	"slices"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/quality"
)

// PromptAssembler gives the prompts of a checkpoint in the form that the text
// encoder takes.
type PromptAssembler interface {
	Prompts(c quality.Checkpoint) (quality.Prompts, error)
	// PicturePrompt is the prompt that a picture was made from, without learned
	// vectors. One of too many tokens is prompt_too_long.
	PicturePrompt(encoder quality.Encoder, prompt string) (quality.Prompts, error)
}

// PromptRecipe names the way from a checkpoint to tokens. It is part of the key
// of cached text embeddings and changes whenever the tokens of a checkpoint
// could.
const PromptRecipe = "clip-agiqa/1"

// PromptEncoder computes the text embeddings of a checkpoint: what a text
// cache falls back on.
type PromptEncoder struct {
	Assembler PromptAssembler
	Encoder   quality.TextEncoder
}

// EmbedPrompts assembles the six prompts of c and encodes them in one call.
// Errors: those of the assembler, and those of [quality.TextEncoder].
func (p PromptEncoder) EmbedPrompts(
	ctx context.Context, encoder quality.Encoder, c quality.Checkpoint,
) (quality.TextEmbeddings, error) {
	var out quality.TextEmbeddings
	prompts, err := p.Assembler.Prompts(c)
	if err != nil {
		return out, err
	}
	embeddings, err := p.Encoder.EncodePrompts(ctx, encoder, prompts)
	if err != nil {
		return out, err
	}
	if len(embeddings) != len(out) {
		return out, quality.Errorf(quality.KindModelBadOutput,
			"the text encoder gave %d embeddings for %d prompts", len(embeddings), len(out))
	}
	copy(out[:], embeddings)
	return out, nil
}

// EmbedPrompt encodes the prompt that a picture was made from. Errors: those of
// the assembler, and those of [quality.TextEncoder].
func (p PromptEncoder) EmbedPrompt(
	ctx context.Context, encoder quality.Encoder, prompt string,
) (quality.Embedding, error) {
	prompts, err := p.Assembler.PicturePrompt(encoder, prompt)
	if err != nil {
		return nil, err
	}
	embeddings, err := p.Encoder.EncodePrompts(ctx, encoder, prompts)
	if err != nil {
		return nil, err
	}
	if len(embeddings) != 1 {
		return nil, quality.Errorf(quality.KindModelBadOutput, "the text encoder gave %d embeddings for a prompt",
			len(embeddings))
	}
	return embeddings[0], nil
}

// text is what became of the text embeddings of one checkpoint.
type text struct {
	embeddings quality.TextEmbeddings
	cached     bool // no text encoder ran for it
	err        error
}

// fetchTexts fails when no checkpoint's texts are to be had; otherwise those
// that fail have their error.
func (s *Service) fetchTexts(ctx context.Context, j *job) ([]text, error) {
	out, faults := make([]text, len(j.Checkpoints)), make([]error, len(j.Checkpoints))
	err := s.telemetry.run(ctx, j.timings, StageTexts, func(ctx context.Context, _ trace.Span) error {
		var group errgroup.Group
		for i, c := range j.Checkpoints {
			group.Go(func() error {
				embeddings, cached, err := j.models.Texts.TextEmbeddings(ctx, c)
				out[i], faults[i] = text{embeddings, cached, err}, err
				return nil
			})
		}
		_ = group.Wait() // each keeps its own
		return unlessOne(ctx, faults)
	})
	return out, err
}

// unlessOne returns nil if any of errs is nil and ctx still goes on, else the
// first error.
func unlessOne(ctx context.Context, errs []error) error {
	if slices.Contains(errs, nil) && ctx.Err() == nil {
		return nil
	}
	return cmp.Or(append(errs, context.Cause(ctx))...)
}
