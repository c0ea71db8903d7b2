package cache_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/quality"
)

// wantPrompt asks for the embedding of a prompt and checks it.
func wantPrompt(t *testing.T, texts *cache.Texts, prompt string, wantCached bool) {
	t.Helper()
	e, cached, err := texts.PromptEmbedding(t.Context(), prompt)
	if err != nil || !slices.Equal(e, promptOf(prompt)) || cached != wantCached {
		t.Errorf("PromptEmbedding(%q): cached %t, error %v, right numbers %t; want cached %t",
			prompt, cached, err, slices.Equal(e, promptOf(prompt)), wantCached)
	}
}

func TestPromptsLayers(t *testing.T) {
	source, remote := &fakeSource{}, newMemory(t)
	withRemote := func(config *cache.TextsConfig) { config.Remote = remote }
	first := newTexts(t, source, withRemote)
	wantPrompt(t, first, "a cat", false) // the source runs
	wantPrompt(t, first, "a cat", true)  // memory
	wantPrompt(t, first, "a dog", false)
	wantText(t, first, checkpointNamed("a cat"), false) // a checkpoint of that name is something else
	closeTexts(t, first)

	second := newTexts(t, source, withRemote) // another server
	wantPrompt(t, second, "a cat", true)
	wantPrompt(t, second, "A cat", false) // what the tokenizer makes equal is kept apart
	if got := source.count("a dog"); got != 1 {
		t.Errorf("the source ran %d times for one prompt, want 1", got)
	}
}

func TestPromptsOfAnotherEncoderAreOthers(t *testing.T) {
	remote := newMemory(t)
	first := newTexts(t, &fakeSource{}, func(config *cache.TextsConfig) { config.Remote = remote })
	wantPrompt(t, first, "a cat", false)
	closeTexts(t, first)
	errAsked := errors.New("asked")
	second := newTexts(t, failingPrompts{errAsked}, func(config *cache.TextsConfig) {
		config.Remote = remote
		config.Encoder.Digest = quality.DigestOf([]byte("another encoder"))
	})
	if _, _, err := second.PromptEmbedding(t.Context(), "a cat"); !errors.Is(err, errAsked) {
		t.Errorf("error %v, want the source's: the value of another encoder was found", err)
	}
}

// failingPrompts is a source that fails for prompts.
type failingPrompts struct{ err error }

func (failingPrompts) EmbedPrompts(
	context.Context, quality.Encoder, quality.Checkpoint,
) (quality.TextEmbeddings, error) {
	return quality.TextEmbeddings{}, errors.New("no checkpoint was asked for")
}

func (f failingPrompts) EmbedPrompt(context.Context, quality.Encoder, string) (quality.Embedding, error) {
	return nil, f.err
}

func TestPromptsRememberNoFailure(t *testing.T) {
	tooLong := quality.Errorf(quality.KindPromptTooLong, "the text has 90 tokens, at most 75 fit")
	fails := true
	source := &fakeSource{before: func(context.Context, quality.Checkpoint) error {
		if fails {
			return tooLong
		}
		return nil
	}}
	texts := newTexts(t, source, nil)
	if _, _, err := texts.PromptEmbedding(t.Context(), "a cat"); quality.KindOf(err) != quality.KindPromptTooLong {
		t.Errorf("error %v, want the source's", err)
	}
	fails = false
	wantPrompt(t, texts, "a cat", false)
}

func TestPromptsRefuseUnusableEmbeddings(t *testing.T) {
	nan := unit(testDim, 1)
	nan[2] = float32(math.NaN())
	for _, row := range []quality.Embedding{nan, unit(testDim+1, 1), nil} {
		texts := newTexts(t, badSource{row}, nil)
		if _, _, err := texts.PromptEmbedding(t.Context(), "a cat"); quality.KindOf(err) != quality.KindModelBadOutput {
			t.Errorf("error %v, want model_bad_output", err)
		}
	}
}
