package clip_test

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// FuzzTokenize asks of any text: it is refused for one of the documented
// reasons, or the same ids come out every time, they are in the vocabulary, and
// they spell the cleaned text.
func FuzzTokenize(f *testing.F) {
	for _, s := range []string{
		"", " ", "a photo of a cat", "IT'S <|endoftext|>", "&amp;amp;lt;&#xD800;&#0;&NTILDE;", "ΑΣ İ 'ſ \u0345",
		"👨‍👩‍👧‍👦🏽", "e\u0301\u0323", "\x1b[31mred\x1b[0m\x00\ufeff", "＜ｶﾞ　ﬁ“”", "\xff",
		"\u2028\u0085\r\n", "</w>", "קָ क्ष 한 가\u11a8",
		strings.Repeat("a", 500), strings.Repeat("\u0301", 100), "&" + strings.Repeat("amp;", 40),
	} {
		f.Add(s)
	}
	tokenizer := newTokenizer(f)
	f.Fuzz(func(t *testing.T, text string) {
		ids, err := tokenizer.Encode(text)
		if err != nil {
			checkRefusal(t, text, err)
			return
		}
		checkSpelling(t, tokenizer, text, ids)
		again, err := tokenizer.Encode(text)
		if err != nil || !slices.Equal(ids, again) {
			t.Errorf("Encode(%q) = %v, then %v, %v", text, ids, again, err)
		}
		checkSequence(t, tokenizer, text, ids)
	})
}

func checkRefusal(t *testing.T, text string, err error) {
	t.Helper()
	var wrong bool
	switch quality.KindOf(err) {
	case quality.KindPromptTooLong:
		wrong = len(text) <= clip.MaxTextBytes
	case quality.KindInvalidUTF8:
		wrong = utf8.ValidString(text)
	case quality.KindBadRequest:
		wrong = strings.Count(text, ";") <= clip.MaxEscapeDepth
	default:
		wrong = true
	}
	if wrong {
		t.Errorf("Encode(%q): %v", text, err)
	}
}

// checkSpelling compares all that is not white space: where words end is not in
// the text. A lone U+0345 belongs to no word.
func checkSpelling(t *testing.T, tokenizer *clip.Tokenizer, text string, ids []int32) {
	t.Helper()
	for _, id := range ids {
		if id < 0 || id >= clip.StartToken {
			t.Fatalf("Encode(%q) has the id %d", text, id)
		}
	}
	cleaned, err := clip.Clean(text)
	if err != nil {
		t.Fatalf("Clean(%q): %v after Encode took it", text, err)
	}
	strip := strings.NewReplacer(" ", "", "\u0345", "")
	if got, want := strip.Replace(tokenizer.Decode(ids)), strip.Replace(cleaned); got != want {
		t.Errorf("Encode(%q) spells %q, want %q", text, got, want)
	}
}

func checkSequence(t *testing.T, tokenizer *clip.Tokenizer, text string, ids []int32) {
	t.Helper()
	got, truncated, err := tokenizer.Tokenize(text, clip.Options{Truncate: true})
	if err != nil {
		t.Fatalf("Tokenize(%q): %v after Encode took it", text, err)
	}
	const room = clip.SequenceLength - 2
	if truncated != (len(ids) > room) {
		t.Errorf("Tokenize(%q): truncated %t with %d ids", text, truncated, len(ids))
	}
	if want := sequence(ids[:min(len(ids), room)]); !slices.Equal(got, want) {
		t.Errorf("Tokenize(%q) = %v, want %v", text, got, want)
	}
}
