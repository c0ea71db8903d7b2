package lifecycle

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"

	"github.com/agiqa/agiqa/checkpoint"
)

// Diff says how two checkpoints differ.
type Diff struct {
	A, B    Entry
	Fields  []FieldDiff  // of the manifest, those that differ
	Tensors []TensorDiff // every one, in order of name
}

// FieldDiff is a fact on which two manifests disagree.
type FieldDiff struct{ Field, A, B string }

// TensorDiff compares the numbers of one name. Where the shapes differ, there
// is nothing else to compare.
type TensorDiff struct {
	Name           string
	ShapeA, ShapeB []int
	Equal          bool
	MaxAbs         float64 // largest difference
	RMS            float64 // root mean square of the differences
	Cosine         float64 // of both as one long vector; 0 where one is all zeros
}

// Diff compares two checkpoints of the library, or is a checkpoint_not_found.
func (m *Manager) Diff(a, b string) (Diff, error) {
	s := m.Library.Snapshot()
	x, err := s.Get(a)
	if err != nil {
		return Diff{}, err
	}
	y, err := s.Get(b)
	if err != nil {
		return Diff{}, err
	}
	return Diff{A: x, B: y, Fields: diffFields(x.Bundle, y.Bundle), Tensors: diffTensors(x.Bundle, y.Bundle)}, nil
}

func diffFields(a, b *checkpoint.Bundle) []FieldDiff {
	var out []FieldDiff
	x, y := facts(a.Manifest()), facts(b.Manifest())
	for i := range x {
		if x[i][1] != y[i][1] {
			out = append(out, FieldDiff{Field: x[i][0], A: x[i][1], B: y[i][1]})
		}
	}
	return out
}

// facts are a manifest's fields as text, always the same ones in the same
// order. The name is left out: two names are why there is a question.
func facts(m checkpoint.Manifest) [][2]string {
	return [][2]string{
		{"digest", m.Digest.String()},
		{"class_token_position", string(m.ClassTokenPosition)},
		{"context_length", fmt.Sprint(m.ContextLength)},
		{"class_specific_context", fmt.Sprint(m.ClassSpecific)},
		{"score", fmt.Sprintf("%g..%g %s", m.Score.Min, m.Score.Max, m.Score.Unit)},
		{"encoder", m.Encoder.Digest.String()},
		{"training", canonical(m.Training)},
		{"metrics", canonical(m.Metrics)},
		{"licence", m.Licence},
		{"golden", fmt.Sprintf("%d cases", len(m.Golden))},
	}
}

// canonical writes JSON without spaces and with keys in order.
func canonical(raw json.RawMessage) string {
	var v any
	if err := json.Unmarshal(raw, &v); err != nil {
		return string(raw)
	}
	out, err := json.Marshal(v)
	if err != nil {
		return string(raw)
	}
	return string(out)
}

func diffTensors(a, b *checkpoint.Bundle) []TensorDiff {
	var out []TensorDiff
	y := b.Tensors() // the same names in the same order: every checkpoint has them all
	for i, x := range a.Tensors() {
		d := TensorDiff{Name: x.Name, ShapeA: x.Shape, ShapeB: y[i].Shape}
		if slices.Equal(x.Shape, y[i].Shape) {
			d.compare(x.Data, y[i].Data)
		}
		out = append(out, d)
	}
	return out
}

func (d *TensorDiff) compare(a, b []float32) {
	var squares, dot, normA, normB float64
	for i := range a {
		x, y := float64(a[i]), float64(b[i])
		d.MaxAbs = max(d.MaxAbs, math.Abs(x-y))
		squares += (x - y) * (x - y)
		dot, normA, normB = dot+x*y, normA+x*x, normB+y*y
	}
	d.Equal = d.MaxAbs == 0
	if len(a) > 0 {
		d.RMS = math.Sqrt(squares / float64(len(a)))
	}
	if normA > 0 && normB > 0 {
		d.Cosine = dot / math.Sqrt(normA*normB)
	}
}
