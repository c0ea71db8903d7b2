package imageprep

import "math"

// precisionBits is how many bits of fraction Pillow's weights have: 32 bits,
// less 8 of the sample and 2 for overshoot of the bicubic's negative lobes.
const precisionBits = 32 - 8 - 2

// bicubicSupport is the filter's half width, in output pixels when shrinking.
const bicubicSupport = 2.0

// axisKey says which weights: from in samples to out, for the 224 positions
// from first on.
type axisKey struct {
	in         int
	out, first int64
}

// axis holds the weights for the 224 positions of one axis that survive the
// crop.
type axis struct {
	start  [side]int // first input sample of each position
	weight [side][]int32
	taps   int // most weights of a position
}

// newAxis computes the weights. When the size does not change Pillow skips the
// pass; one weight of 1 does the same.
//
// The conversions to float64 forbid fused multiply-add, which would round
// otherwise than the C code on machines that have it.
func newAxis(key axisKey) *axis {
	a := new(axis)
	if int64(key.in) == key.out {
		for i := range side {
			a.start[i], a.weight[i] = int(key.first)+i, []int32{1 << precisionBits}
		}
		return a.finish()
	}
	scale := float64(float32(key.in)) / float64(key.out) // Pillow's box is single precision
	filterScale := max(scale, 1)
	support := bicubicSupport * filterScale
	inverse := 1 / filterScale
	var w []float64
	for i := range side {
		center := float64((float64(key.first+int64(i)) + 0.5) * scale)
		lo := max(0, int(center-support+0.5))
		hi := min(key.in, int(center+support+0.5))
		w = w[:0]
		sum := 0.0
		for x := lo; x < hi; x++ {
			v := bicubic(float64((float64(x) - center + 0.5) * inverse))
			w = append(w, v)
			sum += v
		}
		a.start[i], a.weight[i] = lo, fixedPoint(w, sum)
	}
	return a.finish()
}

func (a *axis) finish() *axis {
	for _, w := range a.weight {
		a.taps = max(a.taps, len(w))
	}
	return a
}

// fixedPoint normalises weights and rounds them half away from zero.
func fixedPoint(w []float64, sum float64) []int32 {
	k := make([]int32, len(w))
	for i, v := range w {
		if sum != 0 {
			v /= sum
		}
		v = float64(v * (1 << precisionBits))
		k[i] = int32(v + math.Copysign(0.5, v))
	}
	return k
}

// bicubic is Keys' kernel with a = -0.5.
func bicubic(x float64) float64 {
	const a = -0.5
	x = math.Abs(x)
	switch {
	case x < 1:
		return float64(float64((float64((a+2)*x)-(a+3))*x)*x) + 1
	case x < 2:
		return (float64((float64((x-5)*x)+8)*x) - 4) * a
	}
	return 0
}

// end is the input sample behind the last one of position i.
func (a *axis) end(i int) int { return a.start[i] + len(a.weight[i]) }

// span is the range of input samples that the 224 positions need.
func (a *axis) span() (lo, hi int) { return a.start[0], a.end(side - 1) }
