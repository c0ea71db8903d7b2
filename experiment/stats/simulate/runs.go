package simulate

import (
	"math"
	"math/rand/v2"
	"slices"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/experiment/stats"
)

// Plan says how much is simulated.
type Plan struct {
	Runs    int // independent experiments
	Labels  int // the most labels, pairs or units of one
	Every   int // how many lie between two looks
	Seed    uint64
	Workers int // at least 1; changes the time and never the result
}

// each makes all runs and returns what they gave, in their order.
func each[T any](p Plan, run func(random *rand.Rand) T) []T {
	results := make([]T, p.Runs)
	none := func() struct{} { return struct{}{} }
	evaluation.Parallel(p.Workers, p.Runs, none, func(_ struct{}, i int) { results[i] = run(stream(p.Seed, uint64(i))) })
	return results
}

// Share is how many of the runs something happened in.
type Share struct {
	Value float64
	SE    float64 // standard error, of a binomial
}

func share[T any](results []T, happened func(T) bool) Share {
	var n float64
	for _, r := range results {
		if happened(r) {
			n++
		}
	}
	runs := float64(len(results))
	p := n / runs
	return Share{p, math.Sqrt(p * (1 - p) / runs)}
}

// Peeking is how often an A/A test of the paired difference of squared errors, on
// labels of one rater, is called significant at 5 %.
type Peeking struct {
	Fixed    Share // z-test, read once at the end
	Peeked   Share // z-test, read at every look after the burn-in
	Sequence Share // asymptotic confidence sequence, acted upon after every label
}

// FalsePositives makes A/A tests.
func FalsePositives(p Population, plan Plan, options stats.SequenceOptions) Peeking {
	type outcome struct{ fixed, peeked, sequence bool }
	limit := distance(options.Alpha)
	results := each(plan, func(random *rand.Rand) (o outcome) {
		s := stats.NewSequence(options)
		var all stats.Moments
		for n := 1; n <= plan.Labels; n++ {
			d := lossDifference(p, Same(), random)
			_, _ = s.Add(d), all.Add(d) // losses on the scale are finite
			if n%plan.Every != 0 || n < options.BurnIn {
				continue
			}
			o.fixed = math.Abs(all.Mean()) > limit*all.SD()/math.Sqrt(float64(n))
			o.peeked = o.peeked || o.fixed
			b := s.Bounds()
			o.sequence = o.sequence || b.Contradicted || !b.Running.Contains(0)
		}
		return o
	})
	return Peeking{
		Fixed:    share(results, func(o outcome) bool { return o.fixed }),
		Peeked:   share(results, func(o outcome) bool { return o.peeked }),
		Sequence: share(results, func(o outcome) bool { return o.sequence }),
	}
}

// distance is the z of a two-sided test.
func distance(alpha float64) float64 { return math.Sqrt2 * math.Erfinv(1-alpha) }

// lossDifference is how much smaller the second arm's squared error is, on one image
// with one label.
func lossDifference(p Population, arms Arms, random *rand.Rand) float64 {
	image := p.draw(random)
	first, second := arms.Scores(image, random)
	label := Label(image, random)
	return stats.Gain(first, second, label)
}

// Stopping is after how many labels the confidence sequence of the same difference
// finds the better arm.
type Stopping struct {
	Median, P90 float64 // labels, at looks; infinite where it was not found
	Found       Share   // that the second arm is better
	Wrong       Share   // that it is worse
}

// StoppingTimes makes tests in which the second arm is better.
func StoppingTimes(p Population, plan Plan, arms Arms, options stats.SequenceOptions) Stopping {
	type outcome struct {
		labels   float64
		decision stats.Decision
	}
	results := each(plan, func(random *rand.Rand) outcome {
		s := stats.NewSequence(options)
		for n := 1; n <= plan.Labels; n++ {
			_ = s.Add(lossDifference(p, arms, random))
			if n%plan.Every != 0 {
				continue
			}
			if d := stats.Decide(s.Bounds().Running, 0); d != stats.Continue {
				return outcome{float64(n), d}
			}
		}
		return outcome{math.Inf(1), stats.Continue}
	})
	times := make([]float64, len(results))
	for i, r := range results {
		times[i] = r.labels
	}
	slices.Sort(times)
	return Stopping{
		Median: at(times, 0.5), P90: at(times, 0.9),
		Found: share(results, func(o outcome) bool { return o.decision == stats.Superior }),
		Wrong: share(results, func(o outcome) bool { return o.decision == stats.Inferior }),
	}
}

// at is the order statistic; between infinite ones nothing can be interpolated.
func at(ordered []float64, share float64) float64 {
	return ordered[min(len(ordered)-1, int(math.Ceil(share*float64(len(ordered))))-1)]
}

// Spread is the standard deviation of a difference of SRCC, second arm less first.
type Spread struct {
	Gap    float64 // the mean difference, paired
	Paired float64 // both arms score every image
	Split  float64 // each arm scores half of the images
}

// SpreadOfSRCC draws images and scores them; labels are mean opinions, or with
// oneRater a single label an image.
func SpreadOfSRCC(p Population, plan Plan, arms Arms, oneRater bool) Spread {
	type outcome struct{ paired, split float64 }
	results := each(plan, func(random *rand.Rand) outcome {
		first, second, labels := make([]float64, plan.Labels), make([]float64, plan.Labels), make([]float64, plan.Labels)
		for i := range labels {
			image := p.draw(random)
			first[i], second[i] = arms.Scores(image, random)
			labels[i] = image.MOS
			if oneRater {
				labels[i] = Label(image, random)
			}
		}
		half := plan.Labels / 2
		return outcome{
			evaluation.SRCC(second, labels) - evaluation.SRCC(first, labels),
			evaluation.SRCC(second[:half], labels[:half]) - evaluation.SRCC(first[half:], labels[half:]),
		}
	})
	var paired, split stats.Moments
	for _, r := range results {
		_, _ = paired.Add(r.paired), split.Add(r.split)
	}
	return Spread{Gap: paired.Mean(), Paired: paired.SD(), Split: split.SD()}
}

// Concordance is a test of which arm orders pairs of images as raters do: the
// e-process over the pairs that only one arm orders so.
type Concordance struct {
	Discordant float64 // share of pairs on which the arms differ
	Found      Share   // an e-value of at least 1/alpha, ever
	Median     float64 // pairs until then
}

// Concordant makes tests over pairs of images with a label of one rater each; Labels
// of the plan counts pairs. The e-process is looked at after every pair.
func Concordant(p Population, plan Plan, arms Arms, alpha float64) Concordance {
	type outcome struct{ pairs, differ, found float64 }
	results := each(plan, func(random *rand.Rand) outcome {
		var e stats.Preferences
		o := outcome{found: math.Inf(1)}
		for o.pairs < float64(plan.Labels) {
			o.pairs++
			x, y := p.draw(random), p.draw(random)
			x1, x2 := arms.Scores(x, random)
			y1, y2 := arms.Scores(y, random)
			order := Label(x, random) - Label(y, random)
			if order == 0 || (x1 > y1) == (x2 > y2) {
				continue
			}
			o.differ++
			e.Add((x2 > y2) == (order > 0))
			if e.P() <= alpha {
				o.found = o.pairs
				break
			}
		}
		return o
	})
	var pairs, differ float64
	times := make([]float64, len(results))
	for i, r := range results {
		pairs, differ = pairs+r.pairs, differ+r.differ
		times[i] = r.found
	}
	slices.Sort(times)
	return Concordance{
		Discordant: differ / pairs,
		Found:      share(times, func(t float64) bool { return !math.IsInf(t, 1) }),
		Median:     at(times, 0.5),
	}
}

// Ratio is a test for a sample ratio mismatch.
type Ratio struct {
	Once   Share // chi-square at the end
	Always Share // e-process, after every unit
}

// SampleRatio sends units to two arms that were ordered alike, with the given true
// share of the first; Labels of the plan counts units.
func SampleRatio(plan Plan, truth, alpha float64) Ratio {
	type outcome struct{ once, always bool }
	results := each(plan, func(random *rand.Rand) (o outcome) {
		weights, counts := []float64{0.5, 0.5}, make([]int, 2)
		s, _ := stats.NewSequentialSRM(weights)
		for range plan.Labels {
			arm := 1
			if random.Float64() < truth {
				arm = 0
			}
			counts[arm]++
			s.Add(arm)
		}
		test, err := stats.SRM(counts, weights)
		return outcome{err == nil && test.P < alpha, s.P() < alpha}
	})
	return Ratio{
		Once:   share(results, func(o outcome) bool { return o.once }),
		Always: share(results, func(o outcome) bool { return o.always }),
	}
}

// Anchoring is what a confidence sequence concludes about the second arm, which is
// better, when users see the first arm's score.
type Anchoring struct{ Superior, Inferior Share }

// AnchoredTests makes tests whose labels were moved by a share towards the first
// arm's score, which was shown; 0 are blind labels.
func AnchoredTests(p Population, plan Plan, moved float64, options stats.SequenceOptions) Anchoring {
	results := each(plan, func(random *rand.Rand) stats.Decision {
		s := stats.NewSequence(options)
		for range plan.Labels {
			image := p.draw(random)
			first, second := Different().Scores(image, random)
			label := Anchored(Label(image, random), clip(first), moved)
			_ = s.Add(stats.Gain(first, second, label))
		}
		return stats.Decide(s.Bounds().Running, 0)
	})
	return Anchoring{
		Superior: share(results, func(d stats.Decision) bool { return d == stats.Superior }),
		Inferior: share(results, func(d stats.Decision) bool { return d == stats.Inferior }),
	}
}
