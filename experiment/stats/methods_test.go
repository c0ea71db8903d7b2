package stats_test

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/experiment/stats"
)

// The difference of two independent streams: the mean is the difference of means,
// the half-width that of the formula for all units, and the sequence holds 0 when
// nothing differs in at least 1-alpha of the runs.
func TestTwoSampleSequence(t *testing.T) {
	t.Parallel()
	const runs = 400
	missed := 0
	for run := range uint64(runs) {
		random := rand.New(rand.NewPCG(run, 9))
		o := stats.DefaultSequenceOptions()
		s := stats.NewTwoSampleSequence(o)
		var arms [2]stats.Moments
		for range 1000 {
			arm, v := 0, random.ExpFloat64()
			if random.Float64() < 0.3 {
				arm = 1
			}
			_ = arms[arm].Add(v)
			if err := s.Add(arm == 1, v); err != nil {
				t.Fatal(err)
			}
		}
		b := s.Bounds()
		if b.Contradicted || !b.Running.Contains(0) {
			missed++
		}
		if run > 0 {
			continue
		}
		sd := math.Sqrt(1000 * (arms[0].Variance()/float64(arms[0].N()) + arms[1].Variance()/float64(arms[1].N())))
		half := o.HalfWidth(1000, sd)
		difference := arms[1].Mean() - arms[0].Mean()
		want := stats.Interval{Low: difference - half, High: difference + half}
		if !b.Ready || b.N != 1000 || !closeInterval(b.Current, want) {
			t.Errorf("got %+v, want %v", b, want)
		}
	}
	if share, limit := float64(missed)/runs, 0.05+3*math.Sqrt(0.05*0.95/runs); share > limit {
		t.Errorf("missed in %v of the runs, want at most %v", share, limit)
	}
	s := stats.NewTwoSampleSequence(stats.DefaultSequenceOptions())
	for range 500 {
		_ = s.Add(true, 1)
	}
	if b := s.Bounds(); b.Ready || b.Mean != 0 {
		t.Errorf("one arm alone: got %+v, want nothing said", b)
	}
	refused(t, s.Add(false, math.Inf(1)), "value")
}

// Moments of a stream are those of the whole list.
func FuzzMoments(f *testing.F) {
	f.Add([]byte("some bytes to be read as numbers, of many sizes"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var values []float64
		for ; len(data) >= 8; data = data[8:] {
			if v := math.Float64frombits(binary.LittleEndian.Uint64(data)); math.Abs(v) <= 1e6 {
				values = append(values, v)
			}
		}
		got, err := stats.MomentsOf(values)
		if err != nil {
			t.Fatal(err)
		}
		var mean, squares float64
		for _, v := range values {
			mean += v / float64(len(values))
		}
		for _, v := range values {
			squares += (v - mean) * (v - mean)
		}
		sd := math.Sqrt(squares / float64(max(1, len(values)-1)))
		if got.N() != len(values) || math.Abs(got.Mean()-mean) > 1e-6 || math.Abs(got.SD()-sd) > 1e-6*max(1, sd) {
			t.Errorf("%v: got %v, want mean %v and deviation %v", values, got, mean, sd)
		}
	})
}

// Whatever order wins and losses come in, the evidence at the end is the same, and
// the evidence against the sequence's own share stays below every bound.
func TestEvidenceDoesNotDependOnOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wins := rapid.SliceOfN(rapid.Bool(), 1, 80).Draw(t, "wins")
		end := func(wins []bool) float64 {
			var p stats.Preferences
			for _, w := range wins {
				p.Add(w)
			}
			i := p.Interval(0.05)
			won := 0
			for _, w := range wins {
				if w {
					won++
				}
			}
			if share := float64(won) / float64(len(wins)); !i.Contains(share) {
				t.Fatalf("%d wins of %d: %v does not hold their share", won, len(wins), i)
			}
			if p.P() > 1 || p.P() <= 0 {
				t.Fatalf("got p %v", p.P())
			}
			return p.LogE()
		}
		forwards := end(wins)
		backwards := slices.Clone(wins)
		slices.Reverse(backwards)
		if math.Abs(forwards-end(backwards)) > 1e-9 {
			t.Fatalf("%v: got %v, and backwards %v", wins, forwards, end(backwards))
		}
	})
}

// Adjusted p-values are never below the raw ones, keep their order, and Holm's are
// never above Bonferroni's.
func TestAdjustmentsKeepOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		ps := rapid.SliceOfN(rapid.Float64Range(0, 1), 0, 12).Draw(t, "p")
		holm := stats.Holm(ps)
		for i := range ps {
			if holm[i] < ps[i] || holm[i] > min(1, float64(len(ps))*ps[i]) {
				t.Fatalf("%v: Holm %v is below the p-values or above Bonferroni's", ps, holm)
			}
			for j := range ps {
				if ps[i] < ps[j] && holm[i] > holm[j] {
					t.Fatalf("%v: Holm %v changes the order", ps, holm)
				}
			}
		}
	})
}

// No finite input gives a p-value or a figure that is not a number.
func FuzzNoNaN(f *testing.F) {
	f.Add([]byte("scores of two arms and labels, some of them with ties, ties, ties"), uint8(3))
	f.Add(make([]byte, 90), uint8(0))
	f.Fuzz(func(t *testing.T, data []byte, spread uint8) {
		n := min(len(data)/3, 40)
		lists := make([][]float64, 3)
		for k := range lists {
			for i := range n {
				lists[k] = append(lists[k], float64(data[3*i+k])*math.Pow(10, float64(spread%60)-30))
			}
		}
		for name, test := range map[string]func() (stats.Test, error){
			"KS": func() (stats.Test, error) { return stats.KolmogorovSmirnov(lists[0], lists[1]) },
			"Williams": func() (stats.Test, error) {
				o, err := stats.OverlapOf(lists[0], lists[1], lists[2], evaluation.SRCC)
				if err != nil {
					return stats.Test{}, err
				}
				return stats.Williams(o)
			},
			"Steiger": func() (stats.Test, error) {
				o, err := stats.OverlapOf(lists[0], lists[1], lists[2], evaluation.PLCC)
				if err != nil {
					return stats.Test{}, err
				}
				return stats.Steiger(o)
			},
			"Meng": func() (stats.Test, error) {
				o, err := stats.OverlapOf(lists[0], lists[1], lists[2], evaluation.PLCC)
				if err != nil {
					return stats.Test{}, err
				}
				return stats.Meng(o)
			},
			"Welch": func() (stats.Test, error) {
				e, err := stats.DifferenceOfMeans(lists[0], lists[1], 0.95)
				return e.Test, err
			},
		} {
			got, err := test()
			if err == nil && (!(got.P >= 0 && got.P <= 1) || math.IsNaN(got.Statistic)) {
				t.Errorf("%s of %v: got %+v", name, lists, got)
			}
		}
		b := stats.Bootstrap{Resamples: 100, Confidence: 0.95, Workers: 1}
		got, err := b.Agreement(t.Context(), panelOf(lists[:2], lists[2]), stats.Metrics())
		if err != nil {
			return
		}
		for _, arm := range got.Arms {
			for _, figure := range append(arm.Figures, arm.AgainstControl...) {
				if !(figure.Low <= figure.High) || !(figure.P >= 0 && figure.P <= 1) ||
					math.IsNaN(figure.Value) || math.IsNaN(figure.SE) {
					t.Errorf("%v: got %+v", lists, figure)
				}
			}
		}
	})
}
