package clip

import (
	"strings"
	"unicode/utf8"

	"github.com/agiqa/agiqa/quality"
)

const (
	// MaxTextBytes is the longest text that is looked at. CLIP reads 75 tokens;
	// this leaves room for whatever white space and markup surround them.
	MaxTextBytes = 64 << 10
	// SequenceLength is the number of tokens that the text encoder takes, for
	// every CLIP so far.
	SequenceLength = 77
)

// Tokenizer is CLIP's byte-pair tokenizer. It is safe for concurrent use. Use
// [New] to make one, and share it: its tables take a few megabytes and
// some 30 ms to build.
type Tokenizer struct {
	vocabulary *vocabulary
	words      wordCache
}

// New loads the vocabulary of CLIP, which is part of the program.
func New() (*Tokenizer, error) {
	v, err := loadVocabulary(vocabularyFile)
	if err != nil {
		return nil, err
	}
	return &Tokenizer{vocabulary: v}, nil
}

// Options change how [Tokenizer.Tokenize] reads a text. The zero value is what
// an untrusted text should get.
type Options struct {
	// Truncate cuts a text that is too long, as CLIP's truncate=True does: the
	// last token of the sequence becomes [EndToken]. Otherwise it is an error.
	Truncate bool
	// SpecialTokens reads "<|startoftext|>" and "<|endoftext|>" as the tokens of
	// that name, as CLIP does. Otherwise they are ordinary characters.
	SpecialTokens bool
}

// Clean returns text as CLIP reads it: characters repaired by ftfy's rules, HTML
// unescaped, words separated by single spaces, in lower case. See the package
// comment for where this differs from CLIP, and [Tokenizer.Encode] for the errors.
func Clean(text string) (string, error) {
	if len(text) > MaxTextBytes {
		return "", quality.Errorf(quality.KindPromptTooLong,
			"the text has %d bytes, at most %d are read", len(text), MaxTextBytes)
	}
	if !utf8.ValidString(text) {
		return "", quality.Errorf(quality.KindInvalidUTF8, "the text is not valid UTF-8")
	}
	return cleanText(text)
}

// Encode returns the token ids of text, without start and end and however many
// they are. Special tokens in the text are ordinary characters.
//
// The error is of kind prompt_too_long for more than [MaxTextBytes] bytes,
// invalid_utf8, or bad_request for more than [MaxEscapeDepth] layers of HTML
// escapes.
func (t *Tokenizer) Encode(text string) ([]int32, error) {
	return t.encode(text, false)
}

// Tokenize returns the [SequenceLength] ids that CLIP's text encoder takes:
// [StartToken], the ids of text, [EndToken], zeros. truncated reports whether the
// text was cut, which happens only when the options allow it.
//
// The errors are those of [Tokenizer.Encode]; a text with more ids than fit is
// of kind prompt_too_long, unless it may be cut.
func (t *Tokenizer) Tokenize(text string, o Options) (ids []int32, truncated bool, err error) {
	return t.sequence(text, SequenceLength, o)
}

// sequence is Tokenize for any length.
func (t *Tokenizer) sequence(text string, length int, o Options) (ids []int32, truncated bool, err error) {
	tokens, err := t.encode(text, o.SpecialTokens)
	if err != nil {
		return nil, false, err
	}
	room := length - 2
	if len(tokens) > room {
		if !o.Truncate {
			return nil, false, quality.Errorf(quality.KindPromptTooLong,
				"the text has %d tokens, at most %d fit", len(tokens), room)
		}
		tokens, truncated = tokens[:room], true
	}
	ids = make([]int32, length)
	ids[0] = StartToken
	copy(ids[1:], tokens)
	ids[1+len(tokens)] = EndToken
	return ids, truncated, nil
}

// Decode returns the text of ids as CLIP's decode does, with a space after
// every word. A byte that is not valid UTF-8, as where a character was cut in
// two, and an id outside the vocabulary become U+FFFD. Id 0 is "!", so leave the
// padding out.
func (t *Tokenizer) Decode(ids []int32) string {
	var joined strings.Builder
	for _, id := range ids {
		if id < 0 || int(id) >= len(t.vocabulary.text) {
			joined.WriteRune(utf8.RuneError)
			continue
		}
		joined.WriteString(t.vocabulary.text[id])
	}
	return strings.ReplaceAll(string([]rune(joined.String())), wordEnd, " ")
}

func (t *Tokenizer) encode(text string, special bool) ([]int32, error) {
	cleaned, err := Clean(text)
	if err != nil {
		return nil, err
	}
	ids := []int32{}
	for word, rest := nextWord(cleaned, special); word != ""; word, rest = nextWord(rest, special) {
		switch {
		case special && word == startText:
			ids = append(ids, StartToken)
		case special && word == endText:
			ids = append(ids, EndToken)
		default:
			ids = append(ids, t.wordIDs(word)...)
		}
	}
	return ids, nil
}

// wordIDs returns the ids of one word. The caller must not modify them.
func (t *Tokenizer) wordIDs(word string) []int32 {
	if ids, ok := t.words.get(word); ok {
		return ids
	}
	ids := t.vocabulary.bytePairs(word)
	t.words.put(word, ids)
	return ids
}
