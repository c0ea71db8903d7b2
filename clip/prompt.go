package clip

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/agiqa/agiqa/quality"
)

// Position says where the category's name stands among the learned vectors.
type Position string

// The positions that CLIP-AGIQA's configuration knows.
const (
	End    Position = "end"    // all vectors, then the name
	Middle Position = "middle" // the first half of the vectors, the name, the other half
	Front  Position = "front"  // the name, then all vectors
)

// Bounds of a [PromptSpec]; every CLIP so far stays far below them.
const (
	maxCategories     = 64
	maxContextWidth   = 8192
	maxSequenceLength = 1024
)

// PromptSpec describes the prompts of one checkpoint: for each category a text
// of learned vectors, the category's name and a full stop.
type PromptSpec struct {
	// Categories are the names, in the order of the texts. An underscore stands
	// for a space.
	Categories []string
	// Position of the name.
	Position Position
	// ContextLength is the number of learned vectors in a text, 16 as published.
	ContextLength int
	// ClassSpecific means that each category has its own vectors.
	ClassSpecific bool
	// Context holds the vectors, row-major: [ContextLength,W], or
	// [len(Categories),ContextLength,W] when ClassSpecific.
	Context []float32
	// W is the width of a vector, the text encoder's.
	W int
	// SequenceLength is the number of tokens in a text; 0 means [SequenceLength].
	SequenceLength int
}

// Validate reports every fault, each naming its field.
func (s PromptSpec) Validate() error {
	var faults []error
	fault := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if n := len(s.Categories); n < 1 || n > maxCategories {
		fault("categories: %d names, want 1 to %d", n, maxCategories)
	}
	if s.Position != End && s.Position != Middle && s.Position != Front {
		fault("position %.20q, want %q, %q or %q", s.Position, End, Middle, Front)
	}
	if n := s.length(); n < 3 || n > maxSequenceLength {
		fault("sequence length %d, want 3 to %d", n, maxSequenceLength)
	}
	if s.ContextLength < 1 || s.ContextLength > s.length()-2 {
		fault("context length %d, want 1 to %d", s.ContextLength, s.length()-2)
	}
	if s.W < 1 || s.W > maxContextWidth {
		fault("width %d, want 1 to %d", s.W, maxContextWidth)
	}
	if len(faults) == 0 && len(s.Context) != s.contextSets()*s.ContextLength*s.W {
		fault("context: %d numbers, want %d", len(s.Context), s.contextSets()*s.ContextLength*s.W)
	}
	for i, v := range s.Context {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			fault("context[%d] is %v", i, v)
			break
		}
	}
	return errors.Join(faults...)
}

func (s PromptSpec) length() int {
	if s.SequenceLength == 0 {
		return SequenceLength
	}
	return s.SequenceLength
}

func (s PromptSpec) contextSets() int {
	if s.ClassSpecific {
		return len(s.Categories)
	}
	return 1
}

// vectors returns the learned vectors of one category, [ContextLength,W].
func (s PromptSpec) vectors(category int) []float32 {
	if !s.ClassSpecific {
		return s.Context
	}
	n := s.ContextLength * s.W
	return s.Context[category*n : (category+1)*n]
}

// split returns how many of the vectors stand before the name.
func (s PromptSpec) split() int {
	switch s.Position {
	case Front:
		return 0
	case Middle:
		return s.ContextLength / 2
	}
	return s.ContextLength
}

// Assemble builds the texts of a checkpoint the way CLIP-AGIQA (and CoOp before
// it) does: "X X … X name." is tokenised as a whole, with one X for each learned
// vector; then the tokens of the name move between the X's to their position,
// and each X is marked to be replaced by its vector. The result has
// N = len(Categories) and L = SequenceLength.
//
// The error is of kind bad_request when the spec does not pass
// [PromptSpec.Validate] or a name is nothing but white space, and else as from
// [Tokenizer.Tokenize].
func Assemble(t *Tokenizer, s PromptSpec) (quality.Prompts, error) {
	if err := s.Validate(); err != nil {
		return quality.Prompts{}, quality.Errorf(quality.KindBadRequest, "prompt: %w", err)
	}
	n, l := len(s.Categories), s.length()
	p := quality.Prompts{
		TokenIDs:    make([]int32, n*l),
		Context:     make([]float32, n*l*s.W),
		ContextMask: make([]uint8, n*l),
		N:           n, L: l, W: s.W,
	}
	for i, name := range s.Categories {
		row := promptRow{
			ids:     p.TokenIDs[i*l:][:l],
			mask:    p.ContextMask[i*l:][:l],
			context: p.Context[i*l*s.W:][:l*s.W],
		}
		if err := row.fill(t, s, i); err != nil {
			return quality.Prompts{}, fmt.Errorf("category %.80q: %w", name, err)
		}
	}
	return p, nil
}

// promptRow is one text of [quality.Prompts].
type promptRow struct {
	ids     []int32
	mask    []uint8
	context []float32
}

func (row promptRow) fill(t *Tokenizer, s PromptSpec, category int) error {
	name := strings.ReplaceAll(s.Categories[category], "_", " ")
	whole, _, err := t.sequence(strings.Repeat("X ", s.ContextLength)+name+".", s.length(), Options{})
	if err != nil {
		return err
	}
	nameIDs, err := t.Encode(name)
	if err != nil {
		return err
	}
	if len(nameIDs) == 0 {
		return quality.Errorf(quality.KindBadRequest, "the name has no tokens")
	}
	// As in the original, the name's length is counted on its own, although the
	// full stop can join its last token ("good!" and "." make "good", "!.").
	placeholders, tail := whole[1:1+s.ContextLength], whole[1+s.ContextLength:]
	before, nameLength := s.split(), min(len(nameIDs), len(tail))
	if s.Position == End {
		nameLength = 0 // nothing moves
	}
	row.ids[0] = whole[0]
	at := 1
	put := func(ids []int32) { at += copy(row.ids[at:], ids) }
	put(placeholders[:before])
	row.place(s, category, 1, 0, before)
	put(tail[:nameLength])
	row.place(s, category, at, before, s.ContextLength)
	put(placeholders[before:])
	put(tail[nameLength:])
	return nil
}

// place lets positions from at on take the learned vectors from up to to.
func (row promptRow) place(s PromptSpec, category, at, from, to int) {
	copy(row.context[at*s.W:], s.vectors(category)[from*s.W:to*s.W])
	for i := range to - from {
		row.mask[at+i] = 1
	}
}
