package stats

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/agiqa/agiqa/evaluation"
)

// Bootstrap says how samples are drawn and intervals made: bias-corrected and
// accelerated (Efron 1987), with the jackknife over the same units.
type Bootstrap struct {
	Resamples  int     // at least 100
	Confidence float64 // share of an interval, between 0 and 1
	Seed       uint64
	// Workers is how many samples are computed at once, at least 1. It changes the
	// time and never the result.
	Workers int
	// ByRater draws raters as well as images, independently of one another: a label
	// counts as often as its image times its rater were drawn (Owen 2007, "The
	// pigeonhole bootstrap"). Without it the raters are taken as given.
	ByRater bool
	// Groups bounds the jackknife of each way: of more units, so many groups of equal
	// size are left out one after the other. 0: every unit by itself.
	Groups int
}

// DefaultBootstrap is 10,000 samples of images, 95 %, seed 1, one worker.
func DefaultBootstrap() Bootstrap {
	return Bootstrap{Resamples: 10_000, Confidence: 0.95, Seed: 1, Workers: 1}
}

// Validate names the first setting that cannot be used.
func (b Bootstrap) Validate() error {
	if b.Resamples < 100 || b.Resamples > 10_000_000 {
		return fault("resamples", "%d is not within 100 to 10,000,000", b.Resamples)
	}
	if b.Workers < 1 {
		return fault("workers", "%d is below 1", b.Workers)
	}
	if b.Groups < 0 || b.Groups == 1 {
		return fault("groups", "%d is neither 0 nor at least 2", b.Groups)
	}
	return checkShare("confidence", b.Confidence)
}

// Estimate is a figure with its interval and its test against 0.
type Estimate struct {
	Value float64
	Interval
	SE float64 // standard deviation of the resamples
	// P is two-sided, for 0: one less the largest confidence whose interval leaves 0
	// out. R resamples do not tell values below about 1/R apart.
	P float64
}

// Counted computes figures of a sample in which unit i of way w occurs
// counts[w][i] times, NaN where one is not defined. It may keep scratch memory:
// each worker has one of its own.
type Counted func(counts [][]int32, figures []float64)

// Figures bootstraps any figures of data that is sampled in one way (units[0]
// clusters) or in several crossed ones. newCounted is called once a worker; width
// is the number of figures. What the figures of the whole data, every count 1,
// leave undefined is an error, as is what fewer than half of the resamples define,
// and the end of ctx.
func (b Bootstrap) Figures(ctx context.Context, units []int, width int,
	newCounted func() Counted) ([]Estimate, error) {
	if err := b.Validate(); err != nil {
		return nil, err
	}
	for _, n := range units {
		if n < 2 {
			return nil, fault("units", "%d are too few, 2 are needed", n)
		}
	}
	whole := make([]float64, width)
	newCounted()(ones(units), whole)
	for i, v := range whole {
		if math.IsNaN(v) {
			return nil, fault("figures", "figure %d is not defined on this data", i)
		}
	}
	drawn := b.each(ctx, b.Resamples, width, units, newCounted, func(counts [][]int32, random *rand.PCG, sample int) {
		random.Seed(streamSeed(b.Seed, uint64(sample)))
		for _, way := range counts {
			clear(way)
			for range way {
				way[drawBelow(random, len(way))]++
			}
		}
	})
	left := make([][][]float64, len(units))
	for w, n := range units {
		groups := n
		if b.Groups > 0 {
			groups = min(n, b.Groups)
		}
		left[w] = b.each(ctx, groups, width, units, newCounted, func(counts [][]int32, _ *rand.PCG, group int) {
			for _, way := range counts {
				for i := range way {
					way[i] = 1
				}
			}
			for i := group; i < n; i += groups {
				counts[w][i] = 0
			}
		})
	}
	if ctx.Err() != nil { // some were not computed
		return nil, context.Cause(ctx)
	}
	estimates := make([]Estimate, width)
	for i, value := range whole {
		ways := make([][]float64, len(units))
		for w := range ways {
			ways[w] = left[w][i]
		}
		bca := evaluation.NewBCa(value, drawn[i], acceleration(ways))
		low, high := bca.Interval(b.Confidence)
		if math.IsNaN(low) {
			return nil, fault("figures", "figure %d is not defined on most resamples", i)
		}
		estimates[i] = Estimate{Value: value, Interval: Interval{low, high}, SE: bca.StandardError(), P: bca.PValue(0)}
	}
	return estimates, nil
}

func ones(units []int) [][]int32 {
	counts := make([][]int32, len(units))
	for w, n := range units {
		counts[w] = slices.Repeat([]int32{1}, n)
	}
	return counts
}

// each computes samples 0 to count-1 with the workers and returns the figures,
// one list a figure; not all of them once ctx has ended. draw fills the counts of
// one sample.
func (b Bootstrap) each(
	ctx context.Context, count, width int, units []int, newCounted func() Counted,
	draw func(counts [][]int32, random *rand.PCG, sample int),
) [][]float64 {
	figures := make([][]float64, width)
	for i := range figures {
		figures[i] = make([]float64, count)
	}
	type scratch struct {
		compute Counted
		counts  [][]int32
		out     []float64
		random  *rand.PCG
	}
	newScratch := func() scratch { return scratch{newCounted(), ones(units), make([]float64, width), &rand.PCG{}} }
	evaluation.Parallel(b.Workers, count, newScratch, func(s scratch, sample int) {
		if ctx.Err() != nil {
			return
		}
		draw(s.counts, s.random, sample)
		s.compute(s.counts, s.out)
		for i, v := range s.out {
			figures[i][sample] = v
		}
	})
	return figures
}

// acceleration is that of evaluation for one way of sampling. For several it sums
// the cubes and squares of the influence of every unit of every way, as for
// several independent samples (Efron and Tibshirani 1993, section 14.3).
func acceleration(ways [][]float64) float64 {
	if len(ways) == 1 {
		return evaluation.Acceleration(ways[0])
	}
	var influences []float64
	for _, left := range ways {
		left = slices.DeleteFunc(left, math.IsNaN)
		if len(left) == 0 {
			continue
		}
		var sum float64
		for _, v := range left {
			sum += v
		}
		n := float64(len(left))
		for _, v := range left {
			influences = append(influences, (v-sum/n)*(n-1)/n)
		}
	}
	// Every way's influences sum to 0, so their common centre is 0.
	return evaluation.Acceleration(influences)
}

// streamSeed gives every sample a stream of its own, so that samples can be drawn
// in any order.
func streamSeed(seed, sample uint64) (uint64, uint64) {
	start := seed + 2*sample*golden
	return mix(start), mix(start + golden)
}

const golden = 0x9E3779B97F4A7C15

// mix is the finaliser of SplitMix64 (Steele, Lea, Flood 2014).
func mix(z uint64) uint64 {
	z += golden
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// drawBelow is a number below n, off a uniform one by less than n/2^32.
func drawBelow(random *rand.PCG, n int) int {
	return int((random.Uint64() >> 32) * uint64(n) >> 32)
}
