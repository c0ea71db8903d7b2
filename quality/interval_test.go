package quality_test

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/quality"
)

func TestTaskValid(t *testing.T) {
	for task, want := range map[quality.Task]bool{
		"quality": true, "a": true, "prompt_match-2": true, quality.Task(strings.Repeat("a", 32)): true,
		"": false, "Quality": false, "2d": false, "-a": false, "a b": false, "a\n": false, "é": false,
		quality.Task(strings.Repeat("a", 33)): false,
	} {
		if task.Valid() != want {
			t.Errorf("Task(%q).Valid() is %t", task, !want)
		}
	}
}

func TestScoreRange(t *testing.T) {
	clamped := quality.ScoreRange{Min: 1, Max: 5, Clamp: true}
	free := quality.ScoreRange{Min: 1, Max: 5}
	for raw, cut := range map[float64]float64{0.5: 1, 1: 1, 3: 3, 5: 5, 5.02: 5, math.Inf(-1): 1} {
		if got := clamped.Score(raw); got != cut {
			t.Errorf("clamped: %g gives %g, want %g", raw, got, cut)
		}
		if got := free.Score(raw); got != raw {
			t.Errorf("not clamped: %g gives %g", raw, got)
		}
		if got := free.Cut(raw); got != cut {
			t.Errorf("cut: %g gives %g, want %g", raw, got, cut)
		}
	}
}

func TestCalibrationAround(t *testing.T) {
	scale := quality.ScoreRange{Min: 1, Max: 5}
	three, err := quality.NewCalibration(0.9, []float64{2, 4}, []float64{0.5, 1, 0.25})
	if err != nil {
		t.Fatal(err)
	}
	one, err := quality.NewCalibration(0.8, nil, []float64{0})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name        string
		calibration *quality.Calibration
		raw         float64
		want        quality.Interval
	}{
		{"inside", three, 3, quality.Interval{Low: 2, High: 4, Coverage: 0.9}},
		{"just below an edge", three, 1.75, quality.Interval{Low: 1.25, High: 2.25, Coverage: 0.9}},
		{"at an edge", three, 2, quality.Interval{Low: 1, High: 3, Coverage: 0.9}},
		{"last bin", three, 4, quality.Interval{Low: 3.75, High: 4.25, Coverage: 0.9}},
		{"cut above", three, 4.875, quality.Interval{Low: 4.625, High: 5, Coverage: 0.9}},
		{"raw above the scale", three, 9, quality.Interval{Low: 4.75, High: 5, Coverage: 0.9}},
		{"raw below the scale", three, -9, quality.Interval{Low: 1, High: 1.5, Coverage: 0.9}},
		{"one bin of no width", one, 3.5, quality.Interval{Low: 3.5, High: 3.5, Coverage: 0.8}},
	} {
		if got := test.calibration.Around(test.raw, scale); got != test.want {
			t.Errorf("%s: %+v, want %+v", test.name, got, test.want)
		}
	}
}

func TestNewCalibrationRefuses(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	for _, test := range []struct {
		coverage      float64
		edges, widths []float64
		want          string
	}{
		{0, nil, []float64{1}, "coverage is 0"},
		{1, nil, []float64{1}, "coverage is 1"},
		{nan, nil, []float64{1}, "coverage is NaN"},
		{0.9, nil, nil, "0 half_widths, want 1 to 64"},
		{0.9, make([]float64, 64), make([]float64, 65), "65 half_widths, want 1 to 64"},
		{0.9, nil, []float64{1, 2}, "0 edges and 2 half_widths"},
		{0.9, []float64{nan}, []float64{1, 2}, "edges[0] is NaN"},
		{0.9, []float64{inf}, []float64{1, 2}, "edges[0] is +Inf"},
		{0.9, []float64{2, 1}, []float64{1, 2, 3}, "edges[1] is 1, must be above edges[0], 2"},
		{0.9, nil, []float64{inf}, "half_widths[0] is +Inf"},
		{0.9, nil, []float64{nan}, "half_widths[0] is NaN"},
		{0.9, nil, []float64{-1}, "half_widths[0] is -1"},
	} {
		_, err := quality.NewCalibration(test.coverage, test.edges, test.widths)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("NewCalibration(%g, %v, %v): %v, want %q", test.coverage, test.edges, test.widths, err, test.want)
		}
	}
}

// TestCalibrationAgainstDefinition compares with a computation that walks the
// bins from the definition, on random calibrations and scores, edges among
// them.
func TestCalibrationAgainstDefinition(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 500 {
		bins := 1 + random.IntN(8)
		edges := make([]float64, bins-1)
		for i := range edges {
			edges[i] = math.Round(random.NormFloat64()*1000) / 64
		}
		slices.Sort(edges)
		edges = slices.Compact(edges)
		widths := make([]float64, len(edges)+1)
		for i := range widths {
			widths[i] = random.ExpFloat64()
		}
		c, err := quality.NewCalibration(0.9, edges, widths)
		if err != nil {
			t.Fatal(err)
		}
		scale := quality.ScoreRange{Min: -10 + random.Float64(), Max: 10 * random.Float64(), Clamp: true}
		for _, raw := range append([]float64{random.NormFloat64() * 30, random.NormFloat64()}, edges...) {
			bin := 0
			for i, edge := range edges {
				if raw >= edge {
					bin = i + 1
				}
			}
			centre := raw
			if centre > scale.Max {
				centre = scale.Max
			}
			if centre < scale.Min {
				centre = scale.Min
			}
			low, high := centre-widths[bin], centre+widths[bin]
			if low < scale.Min {
				low = scale.Min
			}
			if high > scale.Max {
				high = scale.Max
			}
			got := c.Around(raw, scale)
			if got != (quality.Interval{Low: low, High: high, Coverage: 0.9}) {
				t.Fatalf("edges %v, widths %v, scale %+v: interval of %g is %+v, want %g to %g", edges, widths, scale, raw,
					got, low, high)
			}
			if s := scale.Score(raw); s < got.Low || s > got.High {
				t.Fatalf("score %g is outside its interval %+v", s, got)
			}
		}
	}
}

// TestIntervalsCover draws opinions and scores that depend on them, with errors
// that grow along the scale and scores that leave it, computes half widths by
// split-conformal prediction on one half, and counts how many opinions of the
// other half lie in their intervals, over all and in every bin.
func TestIntervalsCover(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 4))
	scale := quality.ScoreRange{Min: 1, Max: 5, Clamp: true}
	draw := func() (opinion, raw float64) {
		opinion = 1 + 4*random.Float64()
		return opinion, 0.5 + 0.9*opinion + opinion/4*random.NormFloat64()
	}
	edges := []float64{2, 3, 4}
	bin := func(raw float64) int {
		i := 0
		for i < len(edges) && raw >= edges[i] {
			i++
		}
		return i
	}
	const calibrating, held = 40_000, 40_000
	for _, coverage := range []float64{0.5, 0.9, 0.95} {
		errorsOf := make([][]float64, len(edges)+1)
		for range calibrating {
			opinion, raw := draw()
			shown := math.Min(math.Max(raw, scale.Min), scale.Max)
			errorsOf[bin(raw)] = append(errorsOf[bin(raw)], math.Abs(opinion-shown))
		}
		widths := make([]float64, len(errorsOf))
		for i, e := range errorsOf {
			slices.Sort(e)
			widths[i] = e[int(math.Ceil(float64(len(e)+1)*coverage))-1]
		}
		c, err := quality.NewCalibration(coverage, edges, widths)
		if err != nil {
			t.Fatal(err)
		}
		inside, all := make([]float64, len(widths)), make([]float64, len(widths))
		for range held {
			opinion, raw := draw()
			i, b := c.Around(raw, scale), bin(raw)
			all[b]++
			if i.Low <= opinion && opinion <= i.High {
				inside[b]++
			}
		}
		for b := range all {
			// Both halves are samples: the quantile of the first has as much error
			// as the share of the second.
			se := math.Sqrt(coverage * (1 - coverage) * (1/all[b] + 1/float64(len(errorsOf[b]))))
			if got := inside[b] / all[b]; math.Abs(got-coverage) > 3*se {
				t.Errorf("bin %d: %.4f of %.0f opinions are in their interval, want %.2f +- %.4f", b, got, all[b], coverage,
					3*se)
			}
		}
	}
}
