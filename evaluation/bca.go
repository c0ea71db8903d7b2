package evaluation

import (
	"math"
	"slices"
)

// same is how close values are that count as equal, so that rounding decides
// nothing.
const same = 1e-12

// BCa holds the bootstrap distribution of one figure with the two corrections of
// the bias-corrected and accelerated interval (Efron 1987, "Better Bootstrap
// Confidence Intervals").
type BCa struct {
	ordered            []float64 // the replicates that define the figure, ascending
	bias, acceleration float64
	defined            bool
}

// NewBCa takes ownership of drawn, the figure of every replicate: NaN where the
// replicate does not define it. It is defined when the estimate is a number and
// at least half of the replicates are.
func NewBCa(estimate float64, drawn []float64, acceleration float64) BCa {
	replicates := len(drawn)
	values := slices.DeleteFunc(drawn, math.IsNaN)
	if math.IsNaN(estimate) || len(values) == 0 || 2*len(values) < replicates {
		return BCa{}
	}
	slices.Sort(values)
	b := BCa{ordered: values, acceleration: acceleration, defined: true}
	b.bias = normalQuantile(b.shareBelow(estimate))
	return b
}

// shareBelow is the share of replicates below a value, half of the equal ones
// with them, kept half a replicate away from 0 and 1.
func (b BCa) shareBelow(value float64) float64 {
	margin := same * math.Max(1, math.Abs(value))
	var below, equal float64
	for _, v := range b.ordered {
		switch {
		case v < value-margin:
			below++
		case math.Abs(v-value) <= margin:
			equal++
		}
	}
	count := float64(len(b.ordered))
	return math.Min(math.Max((below+equal/2)/count, 0.5/count), 1-0.5/count)
}

// Interval holds the figure with the given confidence, between 0 and 1. Both
// ends are NaN when the figure is not defined.
func (b BCa) Interval(confidence float64) (low, high float64) {
	if !b.defined {
		return math.NaN(), math.NaN()
	}
	end := func(tail float64) float64 {
		z := b.bias + normalQuantile(tail)
		if scale := 1 - b.acceleration*z; scale > 1e-9 {
			tail = normalShare(b.bias + z/scale)
		}
		return Quantile(b.ordered, tail)
	}
	return end((1 - confidence) / 2), end(1 - (1-confidence)/2)
}

// PValue is two-sided: one less the largest confidence whose interval leaves
// value out. R replicates cannot tell p-values below about 1/R apart. It is NaN
// when the figure is not defined.
func (b BCa) PValue(value float64) float64 {
	if !b.defined {
		return math.NaN()
	}
	q := normalQuantile(b.shareBelow(value)) - b.bias
	scale := 1 + b.acceleration*q
	if scale <= 1e-9 { // beyond what any confidence reaches
		scale = 1e-9
	}
	tail := normalShare(q/scale - b.bias)
	return math.Min(1, 2*math.Min(tail, 1-tail))
}

// StandardError is the standard deviation of the replicates, NaN when the figure
// is not defined or there is one replicate.
func (b BCa) StandardError() float64 {
	if !b.defined || len(b.ordered) < 2 {
		return math.NaN()
	}
	centre := mean(b.ordered)
	var squares float64
	for _, v := range b.ordered {
		squares += (v - centre) * (v - centre)
	}
	return math.Sqrt(squares / float64(len(b.ordered)-1))
}

// Acceleration is the skewness of the jackknife, a sixth of it: left holds the
// figure with one unit, or group of units, left out. NaN is passed over; the
// list is reordered.
func Acceleration(left []float64) float64 {
	left = slices.DeleteFunc(left, math.IsNaN)
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

// Quantile lies linearly between order statistics (Hyndman and Fan's type 7).
// The values are ascending and at least one, the share between 0 and 1.
func Quantile(ordered []float64, share float64) float64 {
	place := share * float64(len(ordered)-1)
	low := min(int(place), len(ordered)-1)
	high := min(low+1, len(ordered)-1)
	return ordered[low] + (place-float64(low))*(ordered[high]-ordered[low])
}

func normalShare(z float64) float64 { return 0.5 * math.Erfc(-z/math.Sqrt2) }

func normalQuantile(share float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*share) }
