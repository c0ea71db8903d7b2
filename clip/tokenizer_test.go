package clip_test

import (
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

func TestTokenizeRefuses(t *testing.T) {
	tokenizer := newTokenizer(t)
	truncate := clip.Options{Truncate: true}
	tests := []struct {
		name    string
		text    string
		options clip.Options
		want    quality.Kind
	}{
		{"76 tokens", strings.Repeat("cat ", 76), clip.Options{}, quality.KindPromptTooLong},
		{"100,000 tokens", strings.Repeat("!", 100_000), truncate, quality.KindPromptTooLong},
		{"one byte too many", strings.Repeat(" ", clip.MaxTextBytes+1), truncate, quality.KindPromptTooLong},
		{"lone continuation byte", "caf\xe9", clip.Options{}, quality.KindInvalidUTF8},
		{"surrogate", "\xed\xa0\x80", clip.Options{}, quality.KindInvalidUTF8},
		{"overlong", "\xc0\xaf", truncate, quality.KindInvalidUTF8},
		{"deep escapes", "&" + strings.Repeat("amp;", clip.MaxEscapeDepth) + "lt;", truncate, quality.KindBadRequest},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			ids, truncated, err := tokenizer.Tokenize(tt.text, tt.options)
			if ids != nil || truncated {
				t.Errorf("got ids %v, truncated %t beside the error", ids, truncated)
			}
			if err == nil || quality.KindOf(err) != tt.want {
				t.Errorf("error %v, want kind %s", err, tt.want)
			}
		})
	}
}

func TestTokenizeAccepts(t *testing.T) {
	tokenizer := newTokenizer(t)
	tests := []struct {
		name          string
		text          string
		options       clip.Options
		want          []int32 // between the marks
		wantTruncated bool
	}{
		{"empty", "", clip.Options{}, nil, false},
		{"only spaces", " \t\n\u3000", clip.Options{}, nil, false},
		{"NUL", "\x00cat\x00", clip.Options{}, []int32{2368}, false},
		{"as long as may be", strings.Repeat(" ", clip.MaxTextBytes-3) + "cat", clip.Options{}, []int32{2368}, false},
		{"75 tokens", strings.Repeat("cat ", 75), clip.Options{}, slices.Repeat([]int32{2368}, 75), false},
		{"76 tokens, cut", strings.Repeat("cat ", 76), clip.Options{Truncate: true}, slices.Repeat([]int32{2368}, 75), true},
		{"escapes as deep as may be", "&" + strings.Repeat("amp;", clip.MaxEscapeDepth-1) + "lt;",
			clip.Options{}, []int32{283}, false},
		{"special mark read as such", "<|endoftext|>", clip.Options{SpecialTokens: true}, []int32{clip.EndToken}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, truncated, err := tokenizer.Tokenize(tt.text, tt.options)
			if err != nil {
				t.Fatal(err)
			}
			if want := sequence(tt.want); !slices.Equal(got, want) || truncated != tt.wantTruncated {
				t.Errorf("truncated %t, want %t\n got %v\nwant %v", truncated, tt.wantTruncated, got, want)
			}
		})
	}
}

// TestHugeReference covers a number that Python refuses to read.
func TestHugeReference(t *testing.T) {
	got, err := clip.Clean("a&#" + strings.Repeat("9", 5000) + ";b")
	if want := "a\uFFFDb"; err != nil || got != want {
		t.Errorf("got %.80q, %v, want %q", got, err, want)
	}
}

// TestSpecialTokensAreText asks for what keeps a stranger's text from ending
// the sequence early: no id of a mark, whatever the spelling.
func TestSpecialTokensAreText(t *testing.T) {
	tokenizer := newTokenizer(t)
	for _, text := range []string{
		"<|endoftext|>", "<|STARTOFTEXT|>", "&lt;|endoftext|&gt;", "＜｜endoftext｜＞",
		"<|endof\u200btext|>", "<|endof\x00text|>",
	} {
		ids, err := tokenizer.Encode(text)
		if err != nil {
			t.Fatal(err)
		}
		if len(ids) == 0 || slices.Contains(ids, clip.EndToken) || slices.Contains(ids, clip.StartToken) {
			t.Errorf("Encode(%q) = %v, want ordinary tokens only", text, ids)
		}
	}
}

func TestDecode(t *testing.T) {
	tokenizer := newTokenizer(t)
	tests := []struct {
		name string
		ids  []int32
		want string
	}{
		{"nothing", nil, ""},
		{"words", []int32{320, 1125, 539, 320, 2368}, "a photo of a cat "},
		{"marks", []int32{clip.StartToken, 2368, clip.EndToken}, "<|startoftext|>cat <|endoftext|>"},
		{"padding is an exclamation mark", []int32{2368, 0, 0}, "cat !!"},
		{"outside the vocabulary", []int32{-1, 2368, int32(clip.VocabularySize)}, "\uFFFDcat \uFFFD"},
		{"half a character", []int32{162}, "\uFFFD"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tokenizer.Decode(tt.ids); got != tt.want {
				t.Errorf("Decode(%v) = %q, want %q", tt.ids, got, tt.want)
			}
		})
	}
}

func TestTokenizerIsConcurrent(t *testing.T) {
	tokenizer, err := clip.New()
	if err != nil {
		t.Fatal(err)
	}
	_, goldens := readGoldens(t)
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for _, g := range goldens[:400] {
				got, err := tokenizer.Encode(g.Text)
				if err != nil || !slices.Equal(got, g.want()) {
					t.Errorf("Encode(%q) = %v, %v, want %v", g.Text, got, err, g.want())
				}
			}
		})
	}
	workers.Wait()
}
