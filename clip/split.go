package clip

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// class is what CLIP's pattern distinguishes characters by.
type class uint8

const (
	separator class = iota
	letter
	number
	other
)

// ypogegrammeni is the Greek iota below a vowel, where it stands alone. Python's
// regex module, ignoring case, counts it among the letters when it looks for
// other characters, and not among them when it looks for letters; so no word
// takes it and it is lost.
const ypogegrammeni = 0x345

func isSeparator(r rune) bool { return classOf(r) == separator }

func classOf(r rune) class {
	switch {
	case 'a' <= r && r <= 'z':
		return letter
	case isPythonSpace(r), r == ypogegrammeni:
		return separator
	case unicode.IsLetter(r):
		return letter
	case unicode.IsNumber(r):
		return number
	}
	return other
}

// nextWord returns the first word of cleaned text, and what follows it. A word
// is, by the first rule that fits: a special mark (if special), an English
// contraction, a run of letters, one digit, a run of anything else. Separators
// belong to no word; word is "" only at the end of the text.
func nextWord(text string, special bool) (word, rest string) {
	text = strings.TrimLeftFunc(text, isSeparator)
	if text == "" {
		return "", ""
	}
	if n := specialPrefix(text); special && n > 0 {
		return text[:n], text[n:]
	}
	if n := contractionPrefix(text); n > 0 {
		return text[:n], text[n:]
	}
	first, n := utf8.DecodeRuneInString(text)
	kind := classOf(first)
	if kind != number {
		for n < len(text) {
			r, size := utf8.DecodeRuneInString(text[n:])
			if classOf(r) != kind {
				break
			}
			n += size
		}
	}
	return text[:n], text[n:]
}

// specialPrefix returns the length of the start or end mark that text begins
// with.
func specialPrefix(text string) int {
	for _, mark := range []string{startText, endText} {
		if n := foldedPrefix(text, mark); n > 0 {
			return n
		}
	}
	return 0
}

// contractionPrefix returns the length of 's, 't, 're, 've, 'm, 'll or 'd at
// the start of text.
func contractionPrefix(text string) int {
	if text[0] != '\'' {
		return 0
	}
	for _, ending := range []string{"'s", "'t", "'re", "'ve", "'m", "'ll", "'d"} {
		if n := foldedPrefix(text, ending); n > 0 {
			return n
		}
	}
	return 0
}

// foldedPrefix returns the length of the part of text that equals prefix, or 0.
// CLIP's pattern ignores case. The text is in lower case already, so this only
// lets the long s (ſ) pass for an s.
func foldedPrefix(text, prefix string) int {
	n := 0
	for i := range len(prefix) {
		r, size := utf8.DecodeRuneInString(text[n:])
		if r != rune(prefix[i]) && (r != 'ſ' || prefix[i] != 's') {
			return 0
		}
		n += size
	}
	return n
}
