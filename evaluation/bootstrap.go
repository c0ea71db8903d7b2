package evaluation

import (
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	jackknifeGroups = 200   // image i is in group i mod 200: bounds the cost of the acceleration
	same            = 1e-12 // values this close are equal, so that rounding decides nothing
)

// Bootstrap says how intervals are made.
type Bootstrap struct {
	// Replicates is how many samples are drawn; 0 means no intervals.
	Replicates int
	// Confidence is the share of an interval, between 0 and 1.
	Confidence float64
	// Seed of the SplitMix64 streams.
	Seed uint64
	// Workers is how many samples are computed at once; at least 1. It changes
	// the time and never the result.
	Workers int
}

// DefaultBootstrap is 2,000 replicates, 95 %, seed 1, one worker.
func DefaultBootstrap() Bootstrap {
	return Bootstrap{Replicates: 2000, Confidence: 0.95, Seed: 1, Workers: 1}
}

// faults names every setting that cannot be used.
func (b Bootstrap) faults() []error {
	var faults []error
	if b.Replicates < 0 {
		faults = append(faults, fmt.Errorf("replicates: %d is below 0", b.Replicates))
	}
	if !(b.Confidence > 0 && b.Confidence < 1) {
		faults = append(faults, fmt.Errorf("confidence: %v is not between 0 and 1", b.Confidence))
	}
	if b.Workers < 1 {
		faults = append(faults, fmt.Errorf("workers: %d is below 1", b.Workers))
	}
	return faults
}

// splitMix is SplitMix64 (Steele, Lea, Flood 2014); its value is the state.
type splitMix uint64

func (s *splitMix) next() uint64 {
	*s += 0x9E3779B97F4A7C15
	z := uint64(*s)
	z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
	z = (z ^ (z >> 27)) * 0x94D049BB133111EB
	return z ^ (z >> 31)
}

// resample fills chosen with indices below its length, drawn with replacement.
// Replicate r starts a stream at output r of the seed's stream, so replicates can
// be drawn in any order.
func resample(seed uint64, replicate int, chosen []int) {
	outer := splitMix(seed + uint64(replicate)*0x9E3779B97F4A7C15)
	stream := splitMix(outer.next())
	for i := range chosen {
		chosen[i] = int((stream.next() >> 32) * uint64(len(chosen)) >> 32)
	}
}

// statistics computes every statistic of the images chosen by index.
type statistics func(chosen []int) []float64

// intervals returns low and high for every estimate.
func (b Bootstrap) intervals(n int, estimates []float64, compute statistics) [][2]float64 {
	ends := make([][2]float64, len(estimates))
	if b.Replicates == 0 {
		for i := range ends {
			ends[i] = [2]float64{math.NaN(), math.NaN()}
		}
		return ends
	}
	drawn := b.each(b.Replicates, func(replicate int) []float64 {
		chosen := make([]int, n)
		resample(b.Seed, replicate, chosen)
		return compute(chosen)
	})
	groups := min(n, jackknifeGroups)
	left := b.each(groups, func(group int) []float64 {
		chosen := make([]int, 0, n)
		for i := range n {
			if i%groups != group {
				chosen = append(chosen, i)
			}
		}
		return compute(chosen)
	})
	for i, estimate := range estimates {
		ends[i][0], ends[i][1] = bca(estimate, column(drawn, i), column(left, i), b.Confidence)
	}
	return ends
}

// each computes rows 0..count-1 with the workers and returns when all have ended.
func (b Bootstrap) each(count int, row func(int) []float64) [][]float64 {
	rows := make([][]float64, count)
	var next atomic.Int64
	var workers sync.WaitGroup
	for range min(b.Workers, count) {
		workers.Go(func() {
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				rows[i] = row(i)
			}
		})
	}
	workers.Wait()
	return rows
}

// column is one statistic of all rows.
func column(rows [][]float64, i int) []float64 {
	values := make([]float64, len(rows))
	for r, row := range rows {
		values[r] = row[i]
	}
	return values
}

// bca is the bias-corrected and accelerated interval (Efron 1987). It is NaN when
// fewer than half of the replicates define the statistic.
func bca(estimate float64, drawn, left []float64, confidence float64) (low, high float64) {
	replicates := len(drawn)
	values := slices.DeleteFunc(drawn, math.IsNaN)
	if math.IsNaN(estimate) || 2*len(values) < replicates {
		return math.NaN(), math.NaN()
	}
	slices.Sort(values)
	margin := same * math.Max(1, math.Abs(estimate))
	var below, equal float64
	for _, v := range values {
		switch {
		case v < estimate-margin:
			below++
		case math.Abs(v-estimate) <= margin:
			equal++
		}
	}
	count := float64(len(values))
	share := math.Min(math.Max((below+equal/2)/count, 0.5/count), 1-0.5/count)
	bias, acceleration := normalQuantile(share), accelerationOf(slices.DeleteFunc(left, math.IsNaN))
	end := func(tail float64) float64 {
		z := bias + normalQuantile(tail)
		if scale := 1 - acceleration*z; scale > 1e-9 {
			tail = normalShare(bias + z/scale)
		}
		return quantile(values, tail)
	}
	return end((1 - confidence) / 2), end(1 - (1-confidence)/2)
}

// accelerationOf is the skewness of the jackknife, a sixth of it.
func accelerationOf(left []float64) float64 {
	if len(left) == 0 {
		return 0
	}
	centre := mean(left)
	var squares, cubes, most, farthest float64
	for _, v := range left {
		d := centre - v
		squares += d * d
		cubes += d * d * d
		most, farthest = math.Max(most, math.Abs(v)), math.Max(farthest, math.Abs(d))
	}
	if farthest <= same*math.Max(1, most) {
		return 0
	}
	return cubes / (6 * math.Pow(squares, 1.5))
}

// quantile lies linearly between order statistics (Hyndman and Fan's type 7).
func quantile(ordered []float64, share float64) float64 {
	place := share * float64(len(ordered)-1)
	low := min(int(place), len(ordered)-1)
	high := min(low+1, len(ordered)-1)
	return ordered[low] + (place-float64(low))*(ordered[high]-ordered[low])
}

func normalShare(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }

func normalQuantile(share float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*share) }
