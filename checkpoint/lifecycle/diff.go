package lifecycle

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"reflect"
	"slices"
	"strings"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
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
		{"format", m.Format},
		{"task", string(m.Task)},
		{"views", strings.Join(m.Views, ",")},
		{"recipe", m.Recipe},
		{"score", scale(m.Score)},
		{"interval", asJSON(m.Interval)},
		{"reference", asJSON(m.Reference)},
		{"evaluation", asJSON(m.Evaluation)},
		{"encoder", m.Encoder.Digest.String()},
		{"training", canonical(m.Training)},
		{"metrics", canonical(m.Metrics)},
		{"licence", m.Licence},
		{"golden", fmt.Sprintf("%d cases", len(m.Golden))},
	}
}

func scale(s checkpoint.ManifestScore) string {
	text := fmt.Sprintf("%g..%g %s", s.Min, s.Max, s.Unit)
	if s.Clamp {
		text += ", clamped"
	}
	return text
}

// asJSON writes a part of a manifest; "" for one that isn't there.
func asJSON[T any](v T) string {
	if reflect.ValueOf(&v).Elem().IsZero() {
		return ""
	}
	out, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(out)
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

// diffTensors compares tensor by tensor. One that only one of the two has, as a
// reference may be, has no shape in the other.
func diffTensors(a, b *checkpoint.Bundle) []TensorDiff {
	type pair struct{ a, b safetensors.Tensor }
	pairs := map[string]pair{}
	for _, x := range a.Tensors() {
		pairs[x.Name] = pair{a: x}
	}
	for _, y := range b.Tensors() {
		pairs[y.Name] = pair{a: pairs[y.Name].a, b: y}
	}
	var out []TensorDiff
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		p := pairs[name]
		d := TensorDiff{Name: name, ShapeA: p.a.Shape, ShapeB: p.b.Shape}
		if slices.Equal(p.a.Shape, p.b.Shape) {
			d.compare(p.a.Data, p.b.Data)
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
