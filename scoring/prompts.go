package scoring

import (
	"context"

	"github.com/agiqa/agiqa/quality"
)

// PromptAssembler gives the prompts of a checkpoint in the form that the text
// encoder takes.
type PromptAssembler interface {
	Prompts(c quality.Checkpoint) (quality.Prompts, error)
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
func (p PromptEncoder) EmbedPrompts(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, error) {
	var out quality.TextEmbeddings
	prompts, err := p.Assembler.Prompts(c)
	if err != nil {
		return out, err
	}
	embeddings, err := p.Encoder.EncodePrompts(ctx, prompts)
	if err != nil {
		return out, err
	}
	if len(embeddings) != len(out) {
		return out, quality.Errorf(quality.KindModelBadOutput, "the text encoder gave %d embeddings for %d prompts", len(embeddings), len(out))
	}
	copy(out[:], embeddings)
	return out, nil
}
