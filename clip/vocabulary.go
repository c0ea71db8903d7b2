package clip

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	_ "embed" // for vocabularyFile
	"fmt"
	"io"
	"strings"
)

// vocabularyFile is CLIP's list of merges; vocab/README.md documents its origin.
//
//go:embed vocab/bpe_simple_vocab_16e6.txt.gz
var vocabularyFile []byte

// The layout of CLIP's ids: 256 bytes, the same 256 at the end of a word, one
// id for each merge in the order in which it was learned, and two marks.
const (
	byteCount  = 256
	mergeCount = 49152 - byteCount - 2 // the file holds more; CLIP reads these 48,894

	// StartToken opens every sequence.
	StartToken int32 = 2*byteCount + mergeCount
	// EndToken closes every sequence. It is the largest id, which is how the
	// text encoder finds the position whose feature it returns.
	EndToken int32 = StartToken + 1
	// VocabularySize is the number of token ids.
	VocabularySize = int(EndToken) + 1
)

const (
	startText = "<|startoftext|>"
	endText   = "<|endoftext|>"
	wordEnd   = "</w>"
)

// pair is two neighbouring symbols, by their ids.
type pair struct{ left, right int32 }

// vocabulary knows the symbols and how they merge. It never changes after
// loading.
type vocabulary struct {
	byteID [byteCount]int32 // id of a byte; the id at the end of a word is byteCount higher
	merged map[pair]int32   // id of the merged symbol; a smaller one merges first
	text   []string         // bytes of each symbol, with wordEnd where it ends a word
}

// byteOrder lists the bytes in the order of their ids: first those that print
// in Latin-1, then the others. spelling is how each is written in the
// vocabulary's file: itself, or a letter from U+0100 on.
func byteOrder() (order [byteCount]byte, spelling [byteCount]rune) {
	printable := func(b int) bool {
		return '!' <= b && b <= '~' || 0xA1 <= b && b <= 0xAC || 0xAE <= b
	}
	n := 0
	for b := range byteCount {
		if printable(b) {
			order[n], spelling[n] = byte(b), rune(b)
			n++
		}
	}
	for b, other := 0, rune(0x100); b < byteCount; b++ {
		if !printable(b) {
			order[n], spelling[n] = byte(b), other
			other++
			n++
		}
	}
	return order, spelling
}

// loadVocabulary reads a gzipped list of merges: one comment line, then two
// symbols a line.
func loadVocabulary(gzipped []byte) (*vocabulary, error) {
	zr, err := gzip.NewReader(bytes.NewReader(gzipped))
	if err != nil {
		return nil, fmt.Errorf("vocabulary: %w", err)
	}
	v := &vocabulary{
		merged: make(map[pair]int32, mergeCount),
		text:   make([]string, 0, VocabularySize),
	}
	ids := v.addBytes()
	lines := bufio.NewScanner(zr)
	lines.Scan() // the comment
	for n := range mergeCount {
		if !lines.Scan() {
			return nil, fmt.Errorf("vocabulary: %d merges, want %d: %w", n, mergeCount, cmp.Or(lines.Err(), io.ErrUnexpectedEOF))
		}
		if err := v.addMerge(ids, lines.Text()); err != nil {
			return nil, fmt.Errorf("vocabulary: merge %d: %w", n, err)
		}
	}
	v.text = append(v.text, startText, endText)
	return v, nil
}

// addBytes gives the single bytes their ids and returns the ids by spelling.
func (v *vocabulary) addBytes() map[string]int32 {
	ids := make(map[string]int32, VocabularySize)
	order, spelling := byteOrder()
	for _, end := range []string{"", wordEnd} {
		for i, b := range order {
			id := int32(len(v.text))
			if end == "" {
				v.byteID[b] = id
			}
			ids[string(spelling[i])+end] = id
			v.text = append(v.text, string([]byte{b})+end)
		}
	}
	return ids
}

// addMerge gives one line of the file the next id. Both symbols must be known
// already and the result must be new: merging in the order of a heap agrees
// with CLIP's merging in rounds only if a pair outranks what it is made of.
func (v *vocabulary) addMerge(ids map[string]int32, line string) error {
	left, right, ok := strings.Cut(line, " ")
	if !ok {
		return fmt.Errorf("%q is not two symbols", line)
	}
	l, okLeft := ids[left]
	r, okRight := ids[right]
	if !okLeft || !okRight {
		return fmt.Errorf("%q merges a symbol that no earlier line made", line)
	}
	id := int32(len(v.text))
	if _, taken := ids[left+right]; taken {
		return fmt.Errorf("%q makes a symbol that an earlier line made", line)
	}
	ids[left+right] = id
	v.merged[pair{l, r}] = id
	v.text = append(v.text, v.text[l]+v.text[r])
	return nil
}
