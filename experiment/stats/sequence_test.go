package stats_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"github.com/agiqa/agiqa/experiment/stats"
)

// What is added one by one is what the formula says of the whole list, and the
// running interval is the intersection of all current ones.
func TestSequenceIsItsFormula(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		o := stats.DefaultSequenceOptions()
		o.BurnIn = rapid.IntRange(2, 10).Draw(t, "burn-in")
		o.OneSided = rapid.Bool().Draw(t, "one-sided")
		values := rapid.SliceOfN(rapid.Float64Range(-5, 5), 1, 60).Draw(t, "values")
		s := stats.NewSequence(o)
		running := stats.Everything()
		for i, v := range values {
			if err := s.Add(v); err != nil {
				t.Fatal(err)
			}
			seen := values[:i+1]
			var mean, squares float64
			for _, v := range seen {
				mean += v / float64(len(seen))
			}
			for _, v := range seen {
				squares += (v - mean) * (v - mean)
			}
			b := s.Bounds()
			if b.N != len(seen) || math.Abs(b.Mean-mean) > 1e-12 {
				t.Fatalf("got %d values of mean %v, want %d and %v", b.N, b.Mean, len(seen), mean)
			}
			if len(seen) < o.BurnIn {
				if b.Ready || b.Current != stats.Everything() || b.Running != stats.Everything() {
					t.Fatalf("within the burn-in: got %+v", b)
				}
				continue
			}
			sd := math.Sqrt(squares / float64(len(seen)-1))
			if sd < 1e-9 {
				return // whether rounding leaves 0 is not the matter here
			}
			half := o.HalfWidth(len(seen), sd)
			want := stats.Interval{Low: mean - half, High: mean + half}
			if o.OneSided {
				want.High = math.Inf(1)
			}
			running.Low, running.High = max(running.Low, b.Current.Low), min(running.High, b.Current.High)
			if !closeInterval(b.Current, want) {
				t.Fatalf("current: got %v, want %v", b.Current, want)
			}
			if b.Contradicted != (running.Low > running.High) {
				t.Fatalf("contradicted: got %v, and the intersection is %v", b.Contradicted, running)
			}
			if !b.Contradicted && b.Running != running {
				t.Fatalf("running: got %v, want %v", b.Running, running)
			}
		}
	})
}

func closeInterval(a, b stats.Interval) bool {
	end := func(x, y float64) bool { return x == y || math.Abs(x-y) < 1e-9 }
	return end(a.Low, b.Low) && end(a.High, b.High)
}

func TestSequenceOfConstantsSaysNothing(t *testing.T) {
	o := stats.DefaultSequenceOptions()
	o.BurnIn = 5
	s := stats.NewSequence(o)
	for range 50 {
		if err := s.Add(0.25); err != nil {
			t.Fatal(err)
		}
	}
	if b := s.Bounds(); b.Ready {
		t.Errorf("fifty times the same: got %+v, want nothing said", b)
	}
}

func TestSequenceNoticesAMovedMean(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 1))
	s := stats.NewSequence(stats.DefaultSequenceOptions())
	for i := range 6000 {
		mean := 0.0
		if i >= 3000 {
			mean = 2
		}
		if err := s.Add(mean + random.NormFloat64()/10); err != nil {
			t.Fatal(err)
		}
	}
	if b := s.Bounds(); !b.Contradicted || b.Running != b.Current {
		t.Errorf("got %+v, want a contradiction", b)
	}
}

func TestSequenceRefuses(t *testing.T) {
	for _, c := range []struct {
		name     string
		change   func(o *stats.SequenceOptions)
		argument string
	}{
		{"alpha", func(o *stats.SequenceOptions) { o.Alpha = 0 }, "alpha"},
		{"one-sided alpha", func(o *stats.SequenceOptions) { o.Alpha, o.OneSided = 0.5, true }, "alpha"},
		{"horizon", func(o *stats.SequenceOptions) { o.Horizon = math.Inf(1) }, "horizon"},
		{"burn-in", func(o *stats.SequenceOptions) { o.BurnIn = 1 }, "burn-in"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := stats.DefaultSequenceOptions()
			c.change(&o)
			refused(t, o.Validate(), c.argument)
		})
	}
	s := stats.NewSequence(stats.DefaultSequenceOptions())
	refused(t, s.Add(math.NaN()), "value")
	if s.Bounds().N != 0 {
		t.Error("what was refused counts")
	}
}

func TestDecide(t *testing.T) {
	const margin = 0.1
	for _, c := range []struct {
		low, high float64
		want      stats.Decision
	}{
		{0.01, 0.5, stats.Superior},
		{0.01, 0.05, stats.Superior},
		{0, 0.5, stats.NonInferior},
		{-0.05, 0.5, stats.NonInferior},
		{-0.05, math.Inf(1), stats.NonInferior},
		{-0.05, 0.05, stats.Equivalent},
		{-0.05, -0.01, stats.Equivalent},
		{-0.5, -0.01, stats.Inferior},
		{-0.1, 0.05, stats.Continue},
		{-0.5, 0.5, stats.Continue},
		{math.Inf(-1), math.Inf(1), stats.Continue},
	} {
		if got := stats.Decide(stats.Interval{Low: c.low, High: c.high}, margin); got != c.want {
			t.Errorf("%v to %v: got %s, want %s", c.low, c.high, got, c.want)
		}
	}
}

// The number of labels is the first at which the half-width is below the effect.
func TestSequenceLabels(t *testing.T) {
	for _, o := range []stats.SequenceOptions{
		stats.DefaultSequenceOptions(),
		{Alpha: 0.01, Horizon: 5000, BurnIn: 2, OneSided: true},
	} {
		for _, effect := range []float64{0.001, 0.1, -0.3, 50} {
			n := must[int](t)(stats.SequenceLabels(effect, 1, o))
			half := o.HalfWidth(n, 1)
			if half >= math.Abs(effect) {
				t.Errorf("%v: after %d the half-width is %v", effect, n, half)
			}
			if n == o.BurnIn {
				continue
			}
			if before := o.HalfWidth(n-1, 1); before < math.Abs(effect) {
				t.Errorf("%v: it is enough after %d, got %d", effect, n-1, n)
			}
		}
	}
	_, err := stats.SequenceLabels(1e-9, 1, stats.DefaultSequenceOptions())
	refused(t, err, "effect")
}
