package quality_test

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/quality"
)

func TestReferenceDistance(t *testing.T) {
	r, err := quality.NewReference(0.5, 2, []float32{1, 0, 0, 1})
	if err != nil {
		t.Fatal(err)
	}
	if r.Threshold() != 0.5 || r.Rows() != 2 || r.Dim() != 2 {
		t.Errorf("threshold %g, %d rows of %d", r.Threshold(), r.Rows(), r.Dim())
	}
	for _, test := range []struct {
		name  string
		views []quality.Embedding
		want  float64
	}{
		{"a row", []quality.Embedding{{0, 1}}, 0},
		{"opposite of one row", []quality.Embedding{{-1, 0}}, 1},
		{"between", []quality.Embedding{{0.6, 0.8}}, 0.2},
		{"mean of two views", []quality.Embedding{{0.6, 0.8}, {-1, 0}}, 0.6},
		{"slightly longer than 1", []quality.Embedding{{1.001, 0}}, 0},
	} {
		got, err := r.Distance(test.views)
		if err != nil || math.Abs(got-test.want) > 1e-6 || got < 0 {
			t.Errorf("%s: distance %g (%v), want %g", test.name, got, err, test.want)
		}
	}
	for name, views := range map[string][]quality.Embedding{
		"no view": nil, "another length": {{1, 0, 0}}, "one of two of another length": {{1, 0}, {1}},
	} {
		if got, err := r.Distance(views); err == nil {
			t.Errorf("%s: distance %g", name, got)
		}
	}
}

// TestReferenceDistanceAgainstDefinition compares with float64 arithmetic in
// the plainest order, for lengths that four doesn't divide too.
func TestReferenceDistanceAgainstDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 6))
	unit := func(dim int) []float32 {
		v, sum := make([]float32, dim), 0.0
		for i := range v {
			x := random.NormFloat64()
			v[i], sum = float32(x), sum+x*x
		}
		for i := range v {
			v[i] /= float32(math.Sqrt(sum))
		}
		return v
	}
	for range 200 {
		dim, rows := 1+random.IntN(70), 1+random.IntN(20)
		var data []float32
		for range rows {
			data = append(data, unit(dim)...)
		}
		r, err := quality.NewReference(0.1, dim, data)
		if err != nil {
			t.Fatal(err)
		}
		var views []quality.Embedding
		for range 1 + random.IntN(5) {
			views = append(views, unit(dim))
		}
		var want float64
		for _, v := range views {
			nearest := math.Inf(1)
			for k := range rows {
				var cosine float64
				for i := range dim {
					cosine += float64(data[k*dim+i]) * float64(v[i])
				}
				nearest = math.Min(nearest, 1-cosine)
			}
			want += nearest / float64(len(views))
		}
		got, err := r.Distance(views)
		if err != nil || math.Abs(got-want) > 1e-6 {
			t.Fatalf("%d views, %d rows of %d: distance %g (%v), want %g", len(views), rows, dim, got, err, want)
		}
	}
}

func TestNewReferenceRefuses(t *testing.T) {
	nan := float32(math.NaN())
	for _, test := range []struct {
		threshold float64
		dim       int
		rows      []float32
		want      string
	}{
		{-0.1, 1, []float32{1}, "threshold is -0.1, must be 0 to 2"},
		{2.1, 1, []float32{1}, "threshold is 2.1"},
		{math.NaN(), 1, []float32{1}, "threshold is NaN"},
		{0.5, 2, nil, "0 numbers, want 1 to 1024 embeddings of 2"},
		{0.5, 2, []float32{1, 0, 1}, "3 numbers"},
		{0.5, 0, []float32{1}, "1 numbers"},
		{0.5, 1, make([]float32, 1025), "1025 numbers"},
		{0.5, 2, []float32{1, 0, 1, 1}, "row 1: embedding has norm 1.41421, want 1"},
		{0.5, 2, []float32{nan, 0}, "row 0: embedding[0] is NaN"},
	} {
		_, err := quality.NewReference(test.threshold, test.dim, test.rows)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("NewReference(%g, %d, %d numbers): %v, want %q", test.threshold, test.dim, len(test.rows), err,
				test.want)
		}
	}
}

func BenchmarkReferenceDistance(b *testing.B) {
	const dim, rows = 512, 256
	data := make([]float32, dim*rows)
	for k := range rows {
		data[k*dim+k] = 1
	}
	r, err := quality.NewReference(0.1, dim, data)
	if err != nil {
		b.Fatal(err)
	}
	view := quality.Embedding(data[:dim])
	for b.Loop() {
		if _, err := r.Distance([]quality.Embedding{view, view, view, view, view}); err != nil {
			b.Fatal(err)
		}
	}
}
