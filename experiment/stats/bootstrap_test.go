package stats_test

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/experiment/stats"
)

// panelOf takes one label an image, a mean opinion for example.
func panelOf(scores [][]float64, labels []float64) stats.Panel {
	p := stats.Panel{Scores: scores, Ratings: make([]stats.Rating, len(labels))}
	for i, v := range labels {
		p.Ratings[i] = stats.Rating{Image: i, Value: v}
	}
	return p
}

// SciPy draws other samples, so ends agree within what chance does to the ends of
// 20,000 and 10,000 resamples: about two hundredths of the interval's width.
func TestAgreementGivesTheIntervalsOfSciPy(t *testing.T) {
	t.Parallel()
	c := goldens[struct {
		First, Second, Labels []float64
		Figures               map[stats.Metric]map[string][4]float64
	}](t, "bca")
	b := stats.DefaultBootstrap()
	b.Workers = 2
	got := must[stats.Agreement](t)(b.Agreement(t.Context(),
		panelOf([][]float64{c.First, c.Second}, c.Labels), stats.Metrics()))
	if got.Images != 80 || got.Ratings != 80 || got.Raters != 1 {
		t.Errorf("got %d images, %d ratings, %d raters", got.Images, got.Ratings, got.Raters)
	}
	if len(got.Arms[0].AgainstControl) != 0 {
		t.Error("the control is compared with itself")
	}
	for i, metric := range stats.Metrics() {
		for name, figure := range map[string]stats.Figure{
			"second":     got.Arms[1].Figures[i],
			"difference": got.Arms[1].AgainstControl[i],
		} {
			want := c.Figures[metric][name]
			width := want[2] - want[1]
			name = string(metric) + " " + name
			near(t, name, figure.Value, want[0], 1e-12)
			near(t, name+" low", figure.Low, want[1], 0.03*width)
			near(t, name+" high", figure.High, want[2], 0.03*width)
			near(t, name+" SE", figure.SE, want[3], 0.03*want[3])
			if inside := figure.Low <= 0 && 0 <= figure.High; inside != (figure.P >= 0.05) {
				t.Errorf("%s: interval %v but p %v", name, figure.Interval, figure.P)
			}
		}
	}
}

// randomPanel has ties in labels and, where scores come in steps, in scores; and up
// to three ratings an image.
func randomPanel(random *rand.Rand, images, raters int, steps float64) stats.Panel {
	p := stats.Panel{Scores: make([][]float64, 3)}
	for i := range images {
		quality := random.NormFloat64()
		for arm := range p.Scores {
			p.Scores[arm] = append(p.Scores[arm], math.Round(steps*(quality+random.NormFloat64()/float64(1+arm)))/steps)
		}
		for range 1 + random.IntN(3) {
			p.Ratings = append(p.Ratings, stats.Rating{
				Image: i, Rater: 7 * random.IntN(raters), Value: math.Round(2 * (quality + random.NormFloat64()/2)),
			})
		}
	}
	return p
}

// naive computes the same figures from the definition: it writes out every
// resample and hands it to package evaluation.
func naive(p stats.Panel, raters map[int]int) func() stats.Counted {
	of := map[stats.Metric]func(x, y []float64) float64{
		stats.SRCC: evaluation.SRCC, stats.KRCC: evaluation.KRCC, stats.PLCC: evaluation.PLCC, stats.RMSE: evaluation.RMSE,
		stats.MSE: func(x, y []float64) float64 { return evaluation.RMSE(x, y) * evaluation.RMSE(x, y) },
	}
	return func() stats.Counted {
		return func(counts [][]int32, figures []float64) {
			metrics := stats.Metrics()
			for arm, scores := range p.Scores {
				var x, y []float64
				for image := range scores {
					var sum, n float64
					for _, r := range p.Ratings {
						if r.Image != image {
							continue
						}
						weight := 1.0
						if len(counts) == 2 {
							weight = float64(counts[1][raters[r.Rater]])
						}
						sum, n = sum+weight*r.Value, n+weight
					}
					for range counts[0][image] {
						if n > 0 {
							x, y = append(x, scores[image]), append(y, sum/n)
						}
					}
				}
				for i, metric := range metrics {
					figures[arm*len(metrics)+i] = math.NaN()
					if len(x) > 0 {
						figures[arm*len(metrics)+i] = of[metric](x, y)
					}
				}
			}
			for i := len(metrics); i < len(p.Scores)*len(metrics); i++ {
				figures[(len(p.Scores)-1)*len(metrics)+i] = figures[i] - figures[i%len(metrics)]
			}
		}
	}
}

func TestCountingIsWritingOut(t *testing.T) {
	t.Parallel()
	for _, byRater := range []bool{false, true} {
		for seed := range uint64(8) {
			p := randomPanel(rand.New(rand.NewPCG(seed, 1)), 6+13*int(seed), 5, []float64{4, 1e9}[seed%2])
			raters := make(map[int]int)
			for _, r := range p.Ratings {
				if _, known := raters[r.Rater]; !known {
					raters[r.Rater] = len(raters)
				}
			}
			b := stats.Bootstrap{Resamples: 200, Confidence: 0.9, Seed: seed, Workers: 3, ByRater: byRater}
			got := must[stats.Agreement](t)(b.Agreement(t.Context(), p, stats.Metrics()))
			units := []int{len(p.Scores[0])}
			if byRater {
				units = append(units, len(raters))
			}
			want := must[[]stats.Estimate](t)(b.Figures(t.Context(), units, 25, naive(p, raters)))
			for arm := range got.Arms {
				for i, metric := range stats.Metrics() {
					sameEstimate(t, string(metric), got.Arms[arm].Figures[i].Estimate, want[5*arm+i])
					if arm > 0 {
						sameEstimate(t, string(metric)+" difference", got.Arms[arm].AgainstControl[i].Estimate, want[10+5*arm+i])
					}
				}
			}
		}
	}
}

func sameEstimate(t *testing.T, name string, got, want stats.Estimate) {
	t.Helper()
	near(t, name, got.Value, want.Value, 1e-12)
	near(t, name+" low", got.Low, want.Low, 1e-12)
	near(t, name+" high", got.High, want.High, 1e-12)
	near(t, name+" SE", got.SE, want.SE, 1e-12)
	near(t, name+" p", got.P, want.P, 1e-12)
}

func TestWorkersChangeNothing(t *testing.T) {
	p := randomPanel(rand.New(rand.NewPCG(3, 3)), 50, 9, 4)
	for _, byRater := range []bool{false, true} {
		var got [2]stats.Agreement
		for i, workers := range []int{1, 7} {
			b := stats.Bootstrap{Resamples: 300, Confidence: 0.95, Seed: 5, Workers: workers, ByRater: byRater}
			got[i] = must[stats.Agreement](t)(b.Agreement(t.Context(), p, stats.Metrics()))
		}
		if diff := cmp.Diff(got[0], got[1]); diff != "" {
			t.Errorf("1 worker against 7:\n%s", diff)
		}
	}
}

// TestFiguresEndWithTheirContext: when nobody waits for them, no sample is begun.
func TestFiguresEndWithTheirContext(t *testing.T) {
	t.Parallel()
	const workers, most = 3, 40
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	var computed atomic.Int64
	compute := func([][]int32, []float64) {
		if computed.Add(1) == most {
			leave()
		}
	}
	b := stats.Bootstrap{Resamples: 5000, Confidence: 0.95, Workers: workers}
	_, err := b.Figures(ctx, []int{1000, 7}, 1, func() stats.Counted { return compute })
	if n := computed.Load(); !errors.Is(err, context.Canceled) || n < most || n >= most+workers {
		t.Errorf("%v after %d samples, want %d and no more than are under way", err, n, most)
	}
}

func TestIdenticalArmsDoNotDiffer(t *testing.T) {
	p := randomPanel(rand.New(rand.NewPCG(4, 3)), 40, 9, 4)
	p.Scores[1] = p.Scores[0]
	b := stats.DefaultBootstrap()
	b.Resamples = 200
	for _, f := range must[stats.Agreement](t)(b.Agreement(t.Context(), p, stats.Metrics())).Arms[1].AgainstControl {
		if f.Value != 0 || f.Low != 0 || f.High != 0 || f.P != 1 {
			t.Errorf("%s: got %+v, want 0 with p 1", f.Metric, f.Estimate)
		}
	}
}

func TestEffectTurnsErrors(t *testing.T) {
	e := stats.Estimate{Interval: stats.Interval{Low: -3, High: 1}}
	if got := (stats.Figure{Metric: stats.MSE, Estimate: e}).Effect(); got != (stats.Interval{Low: -1, High: 3}) {
		t.Errorf("MSE: got %v", got)
	}
	if got := (stats.Figure{Metric: stats.SRCC, Estimate: e}).Effect(); got != e.Interval {
		t.Errorf("SRCC: got %v", got)
	}
}

func TestAgreementRefuses(t *testing.T) {
	good := []float64{1, 2, 3, 4, 5}
	b := stats.Bootstrap{Resamples: 100, Confidence: 0.95, Workers: 1}
	for _, c := range []struct {
		name     string
		change   func(b *stats.Bootstrap)
		panel    stats.Panel
		argument string
	}{
		{"few images", nil, panelOf([][]float64{good[:3]}, good[:3]), "scores"},
		{"constant arm", nil, panelOf([][]float64{good, {2, 2, 2, 2, 2}}, good), "scores"},
		{"constant labels", nil, panelOf([][]float64{good}, []float64{2, 2, 2, 2, 2}), "ratings"},
		{"NaN label", nil, panelOf([][]float64{good}, []float64{2, 2, math.NaN(), 2, 2}), "ratings"},
		{"unrated image", nil, panelOf([][]float64{good}, good[:4]), "ratings"},
		{"one rater", func(b *stats.Bootstrap) { b.ByRater = true }, panelOf([][]float64{good}, good), "raters"},
		{"no worker", func(b *stats.Bootstrap) { b.Workers = 0 }, panelOf([][]float64{good}, good), "workers"},
		{"few resamples", func(b *stats.Bootstrap) { b.Resamples = 99 },
			panelOf([][]float64{good}, good), "resamples"},
		{"confidence", func(b *stats.Bootstrap) { b.Confidence = 1 }, panelOf([][]float64{good}, good), "confidence"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := b
			if c.change != nil {
				c.change(&b)
			}
			_, err := b.Agreement(t.Context(), c.panel, []stats.Metric{stats.SRCC})
			refused(t, err, c.argument)
		})
	}
}

// BenchmarkAgreement is two arms on 3,000 images, all metrics, 10,000 resamples,
// two workers.
func BenchmarkAgreement(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	scores, labels := make([][]float64, 2), make([]float64, 3000)
	for i := range labels {
		labels[i] = random.NormFloat64()
		for arm := range scores {
			scores[arm] = append(scores[arm], labels[i]+random.NormFloat64())
		}
	}
	o := stats.DefaultBootstrap()
	o.Workers = 2
	for b.Loop() {
		if _, err := o.Agreement(b.Context(), panelOf(scores, labels), stats.Metrics()); err != nil {
			b.Fatal(err)
		}
	}
}
