package stats_test

import (
	"math"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/experiment/stats"
)

func TestMcNemarGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Counts [2]int
		Exact  float64
	}](t, "mcnemars") {
		nearP(t, "exact", must[float64](t)(stats.McNemar(c.Counts[0], c.Counts[1])), c.Exact, 1e-9)
	}
	_, err := stats.McNemar(0, 0)
	refused(t, err, "counts")
}

func TestPreferencesGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Wins, Losses int
		Two          float64
		Interval     [2]float64
	}](t, "preferences") {
		var p stats.Preferences
		most := 0.0
		for i := range c.Wins + c.Losses {
			p.Add(i < c.Wins)
			most = max(most, p.LogE())
		}
		near(t, "log e", p.LogE(), c.Two, 1e-9)
		near(t, "p", p.P(), math.Exp(-most), 1e-12)
		got := p.Interval(0.05)
		near(t, "low", got.Low, c.Interval[0], 1e-9)
		near(t, "high", got.High, c.Interval[1], 1e-9)
	}
	var p stats.Preferences
	if got := p.Interval(0.05); got != (stats.Interval{Low: 0, High: 1}) || p.P() != 1 {
		t.Errorf("nothing seen: got %v, p %v", got, p.P())
	}
}

// Evidence beyond what a float64 holds as a number stays finite as a logarithm.
func TestPreferencesOfMany(t *testing.T) {
	var p stats.Preferences
	for range 5000 {
		p.Add(true)
	}
	if e := p.LogE(); !(e > 1000) || math.IsInf(e, 0) {
		t.Errorf("got log e %v after 5,000 wins", e)
	}
}

func TestBradleyTerryGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Wins        [][]float64
		Ability, SE []float64
	}](t, "bradley_terry") {
		for i, got := range must[[]stats.Ability](t)(stats.BradleyTerry(c.Wins)) {
			near(t, "ability", got.LogStrength, c.Ability[i], 1e-9)
			near(t, "standard error", got.SE, c.SE[i], 1e-8)
		}
	}
}

// Two items have a closed form: the log odds, with variance (1/w + 1/l)/4 about
// their mean.
func TestBradleyTerryOfTwo(t *testing.T) {
	got := must[[]stats.Ability](t)(stats.BradleyTerry([][]float64{{0, 9000}, {1, 0}}))
	near(t, "ability", got[0].LogStrength, math.Log(9000)/2, 1e-9)
	near(t, "standard error", got[1].SE, math.Sqrt(1.0/9000+1)/2, 1e-6)
	for name, wins := range map[string][][]float64{
		"one item":    {{0}},
		"never loses": {{0, 3}, {0, 0}},
		"two islands": {{0, 1, 0, 0}, {1, 0, 0, 0}, {0, 0, 0, 1}, {0, 0, 1, 0}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := stats.BradleyTerry(wins)
			refused(t, err, "wins")
		})
	}
}

func TestKrasulaGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Scores, Mean, SD           []float64
		Raters, Different, Similar int
		DS, BW, C0                 float64
	}](t, "krasula") {
		opinions := make([]stats.Opinion, len(c.Scores))
		for i := range opinions {
			opinions[i] = stats.Opinion{Mean: c.Mean[i], SD: c.SD[i], Raters: c.Raters}
		}
		got := must[stats.KrasulaAUC](t)(stats.Krasula(c.Scores, opinions, 0.05))
		near(t, "different/similar", got.DifferentSimilar, c.DS, 1e-12)
		near(t, "better/worse", got.BetterWorse, c.BW, 1e-12)
		near(t, "C0", got.Correct, c.C0, 1e-12)
		if got.Different != c.Different || got.Similar != c.Similar {
			t.Errorf("got %d pairs that differ and %d that do not, want %d and %d", got.Different,
				got.Similar, c.Different, c.Similar)
		}
	}
	certain := slices.Repeat([]stats.Opinion{{Mean: 2, SD: 1, Raters: 5}}, 4)
	_, err := stats.Krasula([]float64{1, 2, 3, 4}, certain, 0.05)
	refused(t, err, "opinions")
}

func TestMeansGoldens(t *testing.T) {
	type welch struct{ Difference, T, DF, P, Low, High float64 }
	c := goldens[struct {
		Covariates, Outcomes     [2][]float64
		Welch, CUPED             welch
		Reduction                float64
		Numerators, Denominators [2][]float64
		Ratio                    struct{ Difference, SE, P float64 }
	}](t, "means")
	check := func(name string, got stats.Effect, want welch) {
		t.Helper()
		near(t, name+" difference", got.Difference, want.Difference, 1e-12)
		near(t, name+" t", got.Test.Statistic, want.T, 1e-10)
		near(t, name+" df", got.Test.DF, want.DF, 1e-10)
		nearP(t, name, got.Test.P, want.P, 1e-8)
		near(t, name+" low", got.Low, want.Low, 1e-9)
		near(t, name+" high", got.High, want.High, 1e-9)
	}
	check("Welch", must[stats.Effect](t)(stats.DifferenceOfMeans(c.Outcomes[0], c.Outcomes[1], 0.9)), c.Welch)
	var units [2][]stats.Unit
	var ratios [2][]stats.Ratio
	for arm := range units {
		for i := range c.Outcomes[arm] {
			units[arm] = append(units[arm], stats.Unit{Outcome: c.Outcomes[arm][i], Covariate: c.Covariates[arm][i]})
			ratios[arm] = append(ratios[arm], stats.Ratio{Numerator: c.Numerators[arm][i], Denominator: c.Denominators[arm][i]})
		}
	}
	adjusted := must[stats.CUPEDEffect](t)(stats.CUPED(units[0], units[1], 0.9))
	check("CUPED", adjusted.Effect, c.CUPED)
	near(t, "variance reduction", adjusted.VarianceReduction, c.Reduction, 1e-12)

	got := must[stats.Effect](t)(stats.RatioOfMeans(ratios[0], ratios[1], 0.95))
	near(t, "ratio", got.Difference, c.Ratio.Difference, 1e-12)
	near(t, "ratio SE", got.SE, c.Ratio.SE, 1e-12)
	nearP(t, "ratio", got.Test.P, c.Ratio.P, 1e-9)

	_, err := stats.DifferenceOfMeans([]float64{1, 1}, []float64{2, 2}, 0.95)
	refused(t, err, "values")
	_, err = stats.DifferenceOfMeans([]float64{1}, []float64{2, 3}, 0.95)
	refused(t, err, "control")
	_, err = stats.RatioOfMeans([]stats.Ratio{{1, 1}, {2, -1}}, ratios[1], 0.95)
	refused(t, err, "control")
	_, err = stats.CUPED([]stats.Unit{{1, 1}, {2, 1}, {3, 1}}, []stats.Unit{{1, 1}, {2, 1}, {3, 1}}, 0.95)
	refused(t, err, "covariate")
}

func TestShrinkGoldens(t *testing.T) {
	for _, c := range goldens[[]struct {
		Effects, SE, Shrunk []float64
		ShrunkSE            []float64 `json:"shrunk_se"`
	}](t, "shrinks") {
		var slices []stats.SliceEffect
		for i := range c.Effects {
			slices = append(slices, stats.SliceEffect{Effect: c.Effects[i], SE: c.SE[i]})
		}
		for i, s := range must[[]stats.ShrunkEffect](t)(stats.Shrink(slices)) {
			near(t, "effect", s.Effect, c.Shrunk[i], 1e-12)
			near(t, "SE", s.SE, c.ShrunkSE[i], 1e-12)
		}
	}
	_, err := stats.Shrink([]stats.SliceEffect{{1, 1}, {2, 1}})
	refused(t, err, "slices")
	_, err = stats.Shrink([]stats.SliceEffect{{1, 1}, {2, 1}, {3, 0}})
	refused(t, err, "slices")
}

func TestScreenRatersGoldens(t *testing.T) {
	c := goldens[struct {
		Table        [][]float64
		Above, Below []int
		Rejected     []bool
	}](t, "raters")
	var ratings []stats.Rating
	for image, row := range c.Table {
		for rater, v := range row {
			ratings = append(ratings, stats.Rating{Image: image, Rater: rater, Value: v})
		}
	}
	got := stats.ScreenRaters(ratings)
	rejected := 0
	for i, r := range got {
		want := stats.RaterReport{Rater: i, Checked: len(c.Table), Above: c.Above[i],
			Below: c.Below[i], Rejected: c.Rejected[i]}
		if r != want {
			t.Errorf("got %+v, want %+v", r, want)
		}
		if r.Rejected {
			rejected++
		}
	}
	if rejected == 0 {
		t.Error("nobody is rejected: the case says nothing")
	}
}
