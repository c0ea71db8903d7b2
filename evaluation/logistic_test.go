package evaluation_test

import (
	"math"
	"testing"

	"github.com/agiqa/agiqa/evaluation"
)

func TestFitLogisticFindsACurveAgain(t *testing.T) {
	for _, c := range []struct {
		name  string
		truth evaluation.Logistic
	}{
		{"rising", evaluation.Logistic{4.5, 1, 2, 0.5}},
		{"falling", evaluation.Logistic{20, 90, 2.5, 0.3}},
		{"with a tilt", evaluation.Logistic{3, 2.5, 2, 0.4, 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var x, y []float64
			for i := range 60 {
				x = append(x, float64(i)/12)
				y = append(y, c.truth.At(x[i]))
			}
			four, five := evaluation.FitLogistic(x, y)
			got := five
			if len(c.truth) == 4 {
				got = four
				if !(got[3] > 0) {
					t.Errorf("b4: got %v, want it above 0", got[3])
				}
			}
			for i, v := range x {
				if d := math.Abs(got.At(v) - y[i]); d > 1e-6 {
					t.Fatalf("at %v: got %v, want %v", v, got.At(v), y[i])
				}
			}
		})
	}
}

func TestFitLogisticNeedsSomethingToFit(t *testing.T) {
	line := []float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	for _, c := range []struct {
		name string
		x, y []float64
		want bool
	}{
		{"ten", line, line, true},
		{"nine", line[:9], line[:9], false},
		{"constant scores", make([]float64, 10), line, false},
		{"constant opinions", line, make([]float64, 10), false},
	} {
		t.Run(c.name, func(t *testing.T) {
			four, five := evaluation.FitLogistic(c.x, c.y)
			if got := four != nil; got != c.want {
				t.Errorf("four: got %v, want one: %v", four, c.want)
			}
			if got := five != nil; got != c.want {
				t.Errorf("five: got %v, want one: %v", five, c.want)
			}
		})
	}
}
