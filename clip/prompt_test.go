package clip_test

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// promptGolden is one row of testdata/prompts.json; -n stands for vector n.
type promptGolden struct {
	Position clip.Position
	Count    int
	Name     string
	Row      []int32
}

func readPromptGoldens(t *testing.T) []promptGolden {
	t.Helper()
	file, err := os.ReadFile("testdata/prompts.json")
	if err != nil {
		t.Fatal(err)
	}
	var goldens []promptGolden
	if err := json.Unmarshal(file, &goldens); err != nil {
		t.Fatal(err)
	}
	if len(goldens) < 100 {
		t.Fatalf("only %d goldens", len(goldens))
	}
	return goldens
}

const testWidth = 3

// numbered returns count vectors whose numbers tell set, vector and column apart.
func numbered(set, count int) []float32 {
	context := make([]float32, count*testWidth)
	for i := range context {
		context[i] = vectorNumber(set, i/testWidth, i%testWidth)
	}
	return context
}

func vectorNumber(set, vector, column int) float32 {
	return float32(1 + 1000*set + 10*vector + column)
}

func TestAssembleMatchesCLIPAGIQA(t *testing.T) {
	tokenizer := newTokenizer(t)
	x, err := tokenizer.Encode("X")
	if err != nil || len(x) != 1 {
		t.Fatalf("X is %v, %v, want one id", x, err)
	}
	for _, g := range readPromptGoldens(t) {
		t.Run(fmt.Sprintf("%s/%d/%s", g.Position, g.Count, g.Name), func(t *testing.T) {
			p, err := clip.Assemble(tokenizer, clip.PromptSpec{
				Categories: []string{g.Name}, Position: g.Position,
				ContextLength: g.Count, Context: numbered(0, g.Count), W: testWidth,
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := p.Check(); err != nil {
				t.Fatal(err)
			}
			checkPromptRow(t, p, 0, 0, x[0], g.Row)
			if got, want := argmax(p.TokenIDs), argmax(g.Row); got != want {
				t.Errorf("the end token is at %d, want %d", got, want)
			}
		})
	}
}

// checkPromptRow compares one text of p with a golden row. set is the number of
// the set of vectors that it must have taken.
func checkPromptRow(t *testing.T, p quality.Prompts, row, set int, x int32, want []int32) {
	t.Helper()
	for i, id := range want {
		at := row*p.L + i
		gotID, gotMask, gotVector := p.TokenIDs[at], p.ContextMask[at], p.Context[at*p.W:][:p.W]
		wantID, wantMask, wantVector := id, uint8(0), make([]float32, p.W)
		if id < 0 {
			wantID, wantMask = x, 1
			for column := range wantVector {
				wantVector[column] = vectorNumber(set, int(-1-id), column)
			}
		}
		if gotID != wantID || gotMask != wantMask || !slices.Equal(gotVector, wantVector) {
			t.Errorf("row %d, position %d: id %d, mask %d, vector %v, want %d, %d, %v",
				row, i, gotID, gotMask, gotVector, wantID, wantMask, wantVector)
		}
	}
}

func argmax(ids []int32) int { return slices.Index(ids, slices.Max(ids)) }

func TestAssembleClassSpecific(t *testing.T) {
	tokenizer := newTokenizer(t)
	x, err := tokenizer.Encode("X")
	if err != nil {
		t.Fatal(err)
	}
	categories := quality.Categories()
	spec := clip.PromptSpec{
		Categories: categories[:], Position: clip.Middle, ContextLength: 16, ClassSpecific: true, W: testWidth,
	}
	for i := range categories {
		spec.Context = append(spec.Context, numbered(i, 16)...)
	}
	p, err := clip.Assemble(tokenizer, spec)
	if err != nil {
		t.Fatal(err)
	}
	if p.N != len(categories) || p.L != clip.SequenceLength || p.W != testWidth {
		t.Errorf("N=%d, L=%d, W=%d, want %d, %d, %d", p.N, p.L, p.W, len(categories), clip.SequenceLength, testWidth)
	}
	goldens := readPromptGoldens(t)
	for i, name := range categories {
		at := slices.IndexFunc(goldens, func(g promptGolden) bool {
			return g.Name == name && g.Position == clip.Middle && g.Count == 16
		})
		checkPromptRow(t, p, i, i, x[0], goldens[at].Row)
	}
}

// TestCategoryNamesStandAlone shows that the words of CLIP-AGIQA are one token
// each and that the full stop does not join them, so a name's tokens do not
// depend on what surrounds it.
func TestCategoryNamesStandAlone(t *testing.T) {
	tokenizer := newTokenizer(t)
	stop, err := tokenizer.Encode(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range quality.Categories() {
		alone, err := tokenizer.Encode(name)
		if err != nil {
			t.Fatal(err)
		}
		joined, err := tokenizer.Encode(name + ".")
		if err != nil {
			t.Fatal(err)
		}
		if len(alone) != 1 || !slices.Equal(joined, slices.Concat(alone, stop)) {
			t.Errorf("%s is %v, %s. is %v, the full stop %v", name, alone, name, joined, stop)
		}
	}
}

func TestAssembleRefuses(t *testing.T) {
	tokenizer := newTokenizer(t)
	good := clip.PromptSpec{
		Categories: []string{"good"}, Position: clip.End, ContextLength: 2, Context: numbered(0, 2), W: testWidth,
	}
	tests := []struct {
		name   string
		change func(*clip.PromptSpec)
		kind   quality.Kind
		want   []string
	}{
		{
			"every fault at once",
			func(s *clip.PromptSpec) { *s = clip.PromptSpec{Position: "left", SequenceLength: 5000} },
			quality.KindBadRequest,
			[]string{"categories: 0 names", `position "left"`, "context length 0", "width 0", "sequence length 5000"},
		},
		{"no room for the name", func(s *clip.PromptSpec) { s.SequenceLength = 5 },
			quality.KindPromptTooLong, []string{"good"}},
		{"long name", func(s *clip.PromptSpec) { s.Categories[0] = strings.Repeat("good ", 75) },
			quality.KindPromptTooLong, nil},
		{"name of spaces", func(s *clip.PromptSpec) { s.Categories[0] = "_ \x00" }, quality.KindBadRequest,
			[]string{"the name has no tokens"}},
		{"name in no encoding", func(s *clip.PromptSpec) { s.Categories[0] = "\xff" }, quality.KindInvalidUTF8, nil},
		{"too many vectors", func(s *clip.PromptSpec) { s.ContextLength = 76 }, quality.KindBadRequest,
			[]string{"context length 76"}},
		{"too few numbers", func(s *clip.PromptSpec) { s.Context = s.Context[1:] }, quality.KindBadRequest,
			[]string{"5 numbers, want 6"}},
		{
			"shared vectors where each category needs its own",
			func(s *clip.PromptSpec) { s.Categories = []string{"good", "bad"}; s.ClassSpecific = true },
			quality.KindBadRequest, []string{"6 numbers, want 12"},
		},
		{"not a number", func(s *clip.PromptSpec) { s.Context[4] = float32(math.NaN()) }, quality.KindBadRequest,
			[]string{"context[4] is NaN"}},
		{"infinite", func(s *clip.PromptSpec) { s.Context[0] = float32(math.Inf(-1)) }, quality.KindBadRequest,
			[]string{"context[0] is -Inf"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			spec := good
			spec.Categories, spec.Context = slices.Clone(good.Categories), slices.Clone(good.Context)
			tt.change(&spec)
			_, err := clip.Assemble(tokenizer, spec)
			if err == nil || quality.KindOf(err) != tt.kind {
				t.Fatalf("error %v, want kind %s", err, tt.kind)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %v, want %q in it", err, want)
				}
			}
		})
	}
}

func TestAssembleFitsExactly(t *testing.T) {
	p, err := clip.Assemble(newTokenizer(t), clip.PromptSpec{
		Categories: []string{"good"}, Position: clip.Front, SequenceLength: 6,
		ContextLength: 2, Context: numbered(0, 2), W: testWidth,
	})
	if err != nil {
		t.Fatal(err)
	}
	if p.L != 6 || p.TokenIDs[5] != clip.EndToken || !slices.Equal(p.ContextMask, []uint8{0, 0, 1, 1, 0, 0}) {
		t.Errorf("L=%d, ids %v, mask %v", p.L, p.TokenIDs, p.ContextMask)
	}
}
