package evaluation_test

import (
	"math"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/evaluation"
)

func TestRanks(t *testing.T) {
	got := evaluation.Ranks([]float64{3, 1, 3, -2, 3})
	if want := []float64{4, 2, 4, 1, 4}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// The first case is worked by hand. Of six pairs of (1,1) (2,3) (2,2) (4,4) one is
// tied in x and the other five are concordant: tau-b is 5/sqrt(5*6). Ranks of x
// are 1, 2.5, 2.5, 4, of y 1, 3, 2, 4; the centred sums are xy 4.5, xx 4.5, yy 5.
// For PLCC they are xy 4.5, xx 4.75, yy 5; the squared differences sum to 1.
func TestCorrelations(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		name                   string
		x, y                   []float64
		srcc, krcc, plcc, rmse float64
	}{
		{
			"by hand",
			[]float64{1, 2, 2, 4},
			[]float64{1, 3, 2, 4},
			4.5 / math.Sqrt(4.5*5), 5 / math.Sqrt(30), 4.5 / math.Sqrt(4.75*5), 0.5,
		},
		{"reversed", []float64{1, 2, 3}, []float64{30, 20, 10}, -1, -1, -1, math.Sqrt((29*29 + 18*18 + 7*7) / 3.0)},
		{"constant", []float64{2, 2, 2}, []float64{1, 2, 3}, nan, nan, nan, math.Sqrt(2.0 / 3)},
		{"one value", []float64{2}, []float64{1}, nan, nan, nan, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			compare(t, "SRCC", evaluation.SRCC(c.x, c.y), c.srcc)
			compare(t, "KRCC", evaluation.KRCC(c.x, c.y), c.krcc)
			compare(t, "PLCC", evaluation.PLCC(c.x, c.y), c.plcc)
			compare(t, "RMSE", evaluation.RMSE(c.x, c.y), c.rmse)
		})
	}
}

// slowKRCC looks at every pair.
func slowKRCC(x, y []float64) float64 {
	var difference, xPairs, yPairs float64
	for i := range x {
		for j := range i {
			dx, dy := x[i]-x[j], y[i]-y[j]
			if dx != 0 {
				xPairs++
			}
			if dy != 0 {
				yPairs++
			}
			switch {
			case dx*dy > 0:
				difference++
			case dx*dy < 0:
				difference--
			}
		}
	}
	return difference / math.Sqrt(xPairs) / math.Sqrt(yPairs)
}

func FuzzKRCCIsThatOfAllPairs(f *testing.F) {
	f.Add([]byte{1, 2, 2, 3, 2, 2, 4, 4})
	f.Add([]byte("ties and more ties, of few letters"))
	f.Add([]byte{0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, data []byte) {
		data = data[:min(len(data), 400)]
		n := len(data) / 2
		x, y := make([]float64, n), make([]float64, n)
		for i := range n {
			x[i], y[i] = float64(data[2*i]%16), float64(data[2*i+1])
		}
		got, want := evaluation.KRCC(x, y), slowKRCC(x, y)
		if math.IsNaN(got) != math.IsNaN(want) || math.Abs(got-want) > 1e-12 {
			t.Errorf("KRCC(%v, %v): got %v, want %v", x, y, got, want)
		}
	})
}
