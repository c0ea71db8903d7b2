package evaluation

import (
	"fmt"
	"math"
	"sync"
	"sync/atomic"
)

// jackknifeGroups bounds the cost of the acceleration: image i is in group i mod 200.
const jackknifeGroups = 200

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

// Statistics computes figures of the units chosen by index, NaN where one is not
// defined. It is called by several goroutines at once.
type Statistics func(chosen []int) []float64

// Intervals returns a bias-corrected and accelerated interval for every estimate
// of n units, NaN where there are no replicates or a figure is not defined.
func (b Bootstrap) Intervals(n int, estimates []float64, compute Statistics) [][2]float64 {
	ends := make([][2]float64, len(estimates))
	if b.Replicates == 0 {
		for i := range ends {
			ends[i] = [2]float64{math.NaN(), math.NaN()}
		}
		return ends
	}
	drawn, left := make([][]float64, b.Replicates), make([][]float64, min(n, jackknifeGroups))
	none := func() struct{} { return struct{}{} }
	Parallel(b.Workers, len(drawn), none, func(_ struct{}, replicate int) {
		chosen := make([]int, n)
		resample(b.Seed, replicate, chosen)
		drawn[replicate] = compute(chosen)
	})
	Parallel(b.Workers, len(left), none, func(_ struct{}, group int) {
		chosen := make([]int, 0, n)
		for i := range n {
			if i%len(left) != group {
				chosen = append(chosen, i)
			}
		}
		left[group] = compute(chosen)
	})
	for i, estimate := range estimates {
		ends[i][0], ends[i][1] = NewBCa(estimate, column(drawn, i), Acceleration(column(left, i))).Interval(b.Confidence)
	}
	return ends
}

// Interval is [Bootstrap.Intervals] for one figure of n units. A single unit
// leaves nothing to draw from: both ends are its figure.
func (b Bootstrap) Interval(n int, figure func(chosen []int) float64) (estimate, low, high float64) {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	estimate = figure(all)
	if n == 1 {
		return estimate, estimate, estimate
	}
	ends := b.Intervals(n, []float64{estimate}, func(chosen []int) []float64 { return []float64{figure(chosen)} })
	return estimate, ends[0][0], ends[0][1]
}

// Parallel computes items 0 to count-1 with at most so many workers, each with a
// state of its own, and returns when all have ended.
func Parallel[S any](workers, count int, newState func() S, item func(state S, i int)) {
	var next atomic.Int64
	var group sync.WaitGroup
	for range min(workers, count) {
		group.Go(func() {
			state := newState()
			for i := int(next.Add(1)) - 1; i < count; i = int(next.Add(1)) - 1 {
				item(state, i)
			}
		})
	}
	group.Wait()
}

// column is one statistic of all rows.
func column(rows [][]float64, i int) []float64 {
	values := make([]float64, len(rows))
	for r, row := range rows {
		values[r] = row[i]
	}
	return values
}
