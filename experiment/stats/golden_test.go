package stats_test

import (
	"encoding/json"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/experiment/stats"
)

// goldens is what testdata/make_goldens.py wrote, with SciPy and statsmodels.
func goldens[T any](t *testing.T, part string) T {
	t.Helper()
	raw, err := os.ReadFile("testdata/goldens.json")
	if err != nil {
		t.Fatal(err)
	}
	var file map[string]json.RawMessage
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	var value T
	if err := json.Unmarshal(file[part], &value); err != nil {
		t.Fatalf("%s: %v", part, err)
	}
	return value
}

// near wants got within a share of want, or of 1 where want is smaller.
func near(t *testing.T, name string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*max(1, math.Abs(want))) {
		t.Errorf("%s: got %v, want %v within %g", name, got, want, tolerance)
	}
}

// nearP wants the same p-value in all its digits that SciPy gives, however small.
func nearP(t *testing.T, name string, got, want, tolerance float64) {
	t.Helper()
	if !(math.Abs(got-want) <= tolerance*want+1e-300) {
		t.Errorf("%s: got p %v, want %v within a share of %g", name, got, want, tolerance)
	}
}

func must[T any](t *testing.T) func(value T, err error) T {
	return func(value T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
}

// refused wants an error about the argument.
func refused(t *testing.T, err error, argument string) {
	t.Helper()
	if err == nil || !strings.HasPrefix(err.Error(), argument+": ") {
		t.Errorf("got %v, want an error about %q", err, argument)
	}
}

func TestOverlapsOfData(t *testing.T) {
	type pair [2]float64
	cases := goldens[[]struct {
		Kind                  string
		First, Second, Labels []float64
		R                     [3]float64
		Williams              pair
		Steiger               pair
		Meng                  pair
	}](t, "overlaps")
	if len(cases) != 6 {
		t.Fatalf("got %d cases, want 6", len(cases))
	}
	for _, c := range cases {
		of := evaluation.PLCC
		if c.Kind == "srcc" {
			of = evaluation.SRCC
		}
		o := must[stats.Overlap](t)(stats.OverlapOf(c.First, c.Second, c.Labels, of))
		for i, got := range []float64{o.First, o.Second, o.Between} {
			near(t, c.Kind, got, c.R[i], 1e-12)
		}
		for _, test := range []struct {
			name string
			run  func(stats.Overlap) (stats.Test, error)
			want pair
			df   float64
		}{
			{"williams", stats.Williams, c.Williams, float64(len(c.Labels) - 3)},
			{"steiger", stats.Steiger, c.Steiger, 0},
			{"meng", stats.Meng, c.Meng, 0},
		} {
			got := must[stats.Test](t)(test.run(o))
			near(t, test.name, got.Statistic, test.want[0], 1e-9)
			nearP(t, test.name, got.P, test.want[1], 1e-8)
			if got.DF != test.df {
				t.Errorf("%s: got %v degrees of freedom, want %v", test.name, got.DF, test.df)
			}
		}
	}
}

// The published figures are facts, as the tests of the R package cocor collect
// them: Steiger 1980 (case A, p. 249; with the covariance in full -0.8887185, the
// paper prints -.8913), Meng, Rosenthal and Rubin 1992, May and Hittner 1997, and
// the program depcor of Silver, Hittner and May 2006.
func TestOverlapsPublished(t *testing.T) {
	for _, c := range []struct {
		source               string
		run                  func(stats.Overlap) (stats.Test, error)
		first, second, cross float64
		n                    int
		statistic, p         float64 // p 0: not published
		digits               float64
	}{
		{"depcor", stats.Williams, .3, .4, .5, 100, -1.0767, .2843, 5e-5},
		{"depcor", stats.Steiger, .3, .4, .5, 100, -1.0718, .2838, 5e-5},
		{"depcor", stats.Meng, .3, .4, .5, 100, -1.0707, .2843, 5e-5},
		{"Steiger", stats.Steiger, .4, .5, .1, 103, -0.8887185, 0, 5e-8},
		{"Meng", stats.Meng, .63, -.03, -.19, 15, 1.68, 0, 5e-3},
		{"May", stats.Meng, .5, .2, 0, 50, 1.62, 0, 5e-3},
		{"May", stats.Meng, .5, .2, .5, 50, 2.245, 0, 5e-4},
		{"May", stats.Meng, .5, .2, .8, 50, 3.50, 0, 5e-3},
		{"May", stats.Meng, .7, .4, .4, 50, 2.47, 0, 5e-3},
		{"May", stats.Meng, .7, .4, .8, 50, 4.05, 0, 5e-3},
	} {
		o := stats.Overlap{First: c.first, Second: c.second, Between: c.cross, N: c.n}
		got := must[stats.Test](t)(c.run(o))
		if math.Abs(got.Statistic-c.statistic) > c.digits {
			t.Errorf("%s %+v: got %v, want %v", c.source, o, got.Statistic, c.statistic)
		}
		if c.p != 0 && math.Abs(got.P-c.p) > c.digits {
			t.Errorf("%s %+v: got p %v, want %v", c.source, o, got.P, c.p)
		}
	}
}

func TestOverlapsRefuse(t *testing.T) {
	for _, c := range []struct {
		name     string
		o        stats.Overlap
		argument string
	}{
		{"three images", stats.Overlap{First: .3, Second: .2, Between: .1, N: 3}, "images"},
		{"perfect", stats.Overlap{First: 1, Second: .2, Between: .2, N: 30}, "correlations"},
		{"NaN", stats.Overlap{First: math.NaN(), Second: .2, Between: .2, N: 30}, "correlations"},
		{"impossible", stats.Overlap{First: .9, Second: -.9, Between: .9, N: 30}, "correlations"},
	} {
		t.Run(c.name, func(t *testing.T) {
			for _, run := range []func(stats.Overlap) (stats.Test, error){stats.Williams, stats.Steiger, stats.Meng} {
				_, err := run(c.o)
				refused(t, err, c.argument)
			}
		})
	}
	_, err := stats.OverlapOf([]float64{1, 1, 1, 1}, []float64{1, 2, 3, 4}, []float64{1, 2, 4, 3}, evaluation.PLCC)
	refused(t, err, "scores")
}

func TestHolm(t *testing.T) {
	for _, c := range goldens[[]struct{ PS, Holm []float64 }](t, "multiple") {
		holm := stats.Holm(c.PS)
		for i := range c.PS {
			near(t, "Holm", holm[i], c.Holm[i], 1e-14)
		}
	}
}

func TestSRMGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Counts  []int
		Weights []float64
		DF      float64
		Chi2, P float64
		LogE    float64 `json:"log_e"`
	}](t, "srm") {
		got := must[stats.Test](t)(stats.SRM(c.Counts, c.Weights))
		near(t, "chi-square", got.Statistic, c.Chi2, 1e-12)
		nearP(t, "chi-square", got.P, c.P, 1e-9)
		if got.DF != c.DF {
			t.Errorf("got %v degrees of freedom, want %v", got.DF, c.DF)
		}
		s := must[*stats.SequentialSRM](t)(stats.NewSequentialSRM(c.Weights))
		left, most := slices.Clone(c.Counts), 0.0
		for more := true; more; { // the order of units must not matter to the end
			more = false
			for arm := range left {
				if left[arm] > 0 {
					left[arm]--
					more = true
					s.Add(arm)
					most = max(most, s.LogE())
				}
			}
		}
		near(t, "log e", s.LogE(), c.LogE, 1e-9)
		near(t, "anytime p", s.P(), math.Exp(-most), 1e-12)
		if !slices.Equal(s.Counts(), c.Counts) {
			t.Errorf("got counts %v, want %v", s.Counts(), c.Counts)
		}
	}
}

func TestSRMOfStrays(t *testing.T) {
	got := must[stats.Test](t)(stats.SRM([]int{50, 50, 1}, []float64{1, 1, 0}))
	if got.P != 0 || !math.IsInf(got.Statistic, 1) {
		t.Errorf("a unit in an arm of weight 0: got %+v, want p 0", got)
	}
	s := must[*stats.SequentialSRM](t)(stats.NewSequentialSRM([]float64{1, 1, 0}))
	for _, arm := range []int{0, 2, 1} {
		s.Add(arm)
	}
	if s.P() != 0 {
		t.Errorf("sequential: got p %v, want 0", s.P())
	}
	_, err := stats.SRM([]int{7, 7}, []float64{1, 1})
	refused(t, err, "counts")
	_, err = stats.SRM([]int{70, 70}, []float64{1, 0})
	refused(t, err, "weights")
}

func TestKolmogorovSmirnovGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Sizes         [2]int
		First, Second []float64
		D, P          float64
	}](t, "ks") {
		if len(c.First) == 0 {
			for i := range c.Sizes[0] {
				c.First = append(c.First, math.Sin(float64(i)*1.7))
			}
			for i := range c.Sizes[1] {
				c.Second = append(c.Second, math.Sin(float64(i)*1.3+0.5)+0.02)
			}
		}
		got := must[stats.Test](t)(stats.KolmogorovSmirnov(c.First, c.Second))
		near(t, "D", got.Statistic, c.D, 1e-12)
		nearP(t, "KS", got.P, c.P, 1e-6)
	}
	same := []float64{1, 2, 3, 4, 5, 6, 7, 8}
	if got := must[stats.Test](t)(stats.KolmogorovSmirnov(same, same)); got.P != 1 || got.Statistic != 0 {
		t.Errorf("the same list twice: got %+v, want 0 and p 1", got)
	}
}

func TestPSIGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Reference, Current []float64
		PSI                float64
	}](t, "psi") {
		near(t, "PSI", must[float64](t)(stats.PSI(c.Reference, c.Current)), c.PSI, 1e-12)
	}
	constant := slices.Repeat([]float64{3}, 100)
	if got := must[float64](t)(stats.PSI(constant, constant)); got != 0 {
		t.Errorf("constant output against itself: got %v, want 0", got)
	}
	if got := must[float64](t)(stats.PSI(constant, slices.Repeat([]float64{4}, 100))); got < 0.25 {
		t.Errorf("constant output that moved: got %v, want it above 0.25", got)
	}
	_, err := stats.PSI(constant[:99], constant)
	refused(t, err, "reference")
}

func TestHalfWidthGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Alpha, Horizon, SD, Two, One float64
		N                            int
	}](t, "sequences") {
		o := stats.SequenceOptions{Alpha: c.Alpha, Horizon: c.Horizon, BurnIn: 2}
		near(t, "two-sided", o.HalfWidth(c.N, c.SD), c.Two, 1e-12)
		o.OneSided = true
		near(t, "one-sided", o.HalfWidth(c.N, c.SD), c.One, 1e-12)
	}
}

func TestPowerGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Alpha, Power, MDE float64
		Size              int
	}](t, "powers") {
		near(t, "MDE", must[float64](t)(stats.MDE(0.7, 450, c.Alpha, c.Power)), c.MDE, 1e-10)
		if got := must[int](t)(stats.LabelsToGo(-0.05, 0.7, c.Size-10, c.Alpha, c.Power)); got != 10 {
			t.Errorf("labels to go: got %d, want 10", got)
		}
	}
	if got := must[int](t)(stats.LabelsToGo(1, 0.7, 1000, 0.05, 0.8)); got != 0 {
		t.Errorf("labels to go with enough: got %d, want 0", got)
	}
	_, err := stats.LabelsToGo(0, 1, 0, 0.05, 0.8)
	refused(t, err, "effect")
}
