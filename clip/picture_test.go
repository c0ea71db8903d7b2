package clip_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

func TestPicturePrompt(t *testing.T) {
	tokenizer := newTokenizer(t)
	const text = "A photo of a cat, <|endoftext|>"
	p, err := clip.PicturePrompt(tokenizer, text, 4)
	if err != nil {
		t.Fatal(err)
	}
	want, _, err := tokenizer.Tokenize(text, clip.Options{})
	if err != nil || !slices.Equal(p.TokenIDs, want) {
		t.Errorf("tokens %v, want %v (%v)", p.TokenIDs, want, err)
	}
	if err := p.Check(); err != nil || p.N != 1 || p.L != clip.SequenceLength || p.W != 4 {
		t.Errorf("prompts of N %d, L %d, W %d: %v", p.N, p.L, p.W, err)
	}
	if slices.Max(p.ContextMask) != 0 {
		t.Error("a learned vector takes the place of a token")
	}
	for _, tt := range []struct {
		text string
		kind quality.Kind
	}{
		{strings.Repeat("cat ", 75), ""},
		{strings.Repeat("cat ", 76), quality.KindPromptTooLong},
		{" \t\n", quality.KindBadRequest},
		{"\xff", quality.KindInvalidUTF8},
	} {
		_, err := clip.PicturePrompt(tokenizer, tt.text, 4)
		if (err == nil) != (tt.kind == "") || err != nil && quality.KindOf(err) != tt.kind {
			t.Errorf("%.20q: error %v, want kind %q", tt.text, err, tt.kind)
		}
	}
}
