package clip

import "github.com/agiqa/agiqa/quality"

// PicturePrompt builds the text that a picture was made from, as CLIP itself
// reads it: no learned vector, N = 1 and L = [SequenceLength]. w is the width of a
// vector that the text encoder takes in their place.
//
// The errors are those of [Tokenizer.Tokenize], which cuts nothing, and
// bad_request for a text without tokens.
func PicturePrompt(t *Tokenizer, prompt string, w int) (quality.Prompts, error) {
	ids, _, err := t.Tokenize(prompt, Options{})
	if err != nil {
		return quality.Prompts{}, err
	}
	if ids[1] == EndToken {
		return quality.Prompts{}, quality.Errorf(quality.KindBadRequest, "the prompt is empty")
	}
	return quality.Prompts{
		TokenIDs:    ids,
		Context:     make([]float32, len(ids)*w),
		ContextMask: make([]uint8, len(ids)),
		N:           1, L: len(ids), W: w,
	}, nil
}
