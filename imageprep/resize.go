package imageprep

import (
	"context"
	"math"
)

// precisionBits is how many bits of fraction Pillow's weights have: 32 bits,
// less 8 of the sample and 2 for overshoot of the bicubic's negative lobes.
const precisionBits = 32 - 8 - 2

// bicubicSupport is the filter's half width, in output pixels when shrinking.
const bicubicSupport = 2.0

// axis holds the weights for the 224 positions of one axis that survive the
// crop.
type axis struct {
	start  [side]int // first input sample of each position
	weight [side][]int32
}

// newAxis computes the weights from in samples to out, for the positions
// first..first+223. It returns nil when the size does not change: Pillow skips
// the pass then, and so does [resizeAndCrop].
//
// The conversions to float64 forbid fused multiply-add, which would round
// otherwise than the C code on machines that have it.
func newAxis(in int, out, first int64) *axis {
	if int64(in) == out {
		return nil
	}
	scale := float64(float32(in)) / float64(out) // Pillow's box is single precision
	filterScale := max(scale, 1)
	support := bicubicSupport * filterScale
	inverse := 1 / filterScale
	a := new(axis)
	var w []float64
	for i := range side {
		center := float64((float64(first+int64(i)) + 0.5) * scale)
		lo := max(0, int(center-support+0.5))
		hi := min(in, int(center+support+0.5))
		w = w[:0]
		sum := 0.0
		for x := lo; x < hi; x++ {
			v := bicubic(float64((float64(x) - center + 0.5) * inverse))
			w = append(w, v)
			sum += v
		}
		a.start[i], a.weight[i] = lo, fixedPoint(w, sum)
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

// span is the range of input samples that the 224 positions need.
func (a *axis) span() (lo, hi int) {
	last := side - 1
	return a.start[0], a.start[last] + len(a.weight[last])
}

// resizeAndCrop scales src and cuts the middle out, computing only what
// survives the crop: a horizontal pass over the rows that are needed, rounded
// to 8 bits, and then a vertical one, as Pillow's Resample.c does. It returns
// 224x224x3 bytes.
func resizeAndCrop(ctx context.Context, src raster) ([]byte, error) {
	w, h := src.size()
	outW, outH := resized(w, h)
	left, top := cropOffset(outW), cropOffset(outH)
	across, down := newAxis(w, outW, left), newAxis(h, outH, top)
	lo, hi := int(top), int(top)+side
	if down != nil {
		lo, hi = down.span()
	}
	line := make([]byte, 3*w)
	rows := make([]byte, (hi-lo)*rowBytes)
	for y := lo; y < hi; y++ {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		src.row(y, line)
		out := rows[(y-lo)*rowBytes:][:rowBytes]
		if across == nil {
			copy(out, line[3*left:])
			continue
		}
		across.horizontal(line, out)
	}
	if down == nil {
		return rows, nil
	}
	return down.vertical(rows, lo), nil
}

// horizontal computes one output row of RGB.
func (a *axis) horizontal(in, out []byte) {
	for i := range side {
		k := a.weight[i]
		px := in[3*a.start[i]:][:3*len(k)]
		r, g, b := int32(1<<(precisionBits-1)), int32(1<<(precisionBits-1)), int32(1<<(precisionBits-1))
		for _, w := range k {
			r += int32(px[0]) * w
			g += int32(px[1]) * w
			b += int32(px[2]) * w
			px = px[3:]
		}
		o := out[3*i : 3*i+3 : 3*i+3]
		o[0], o[1], o[2] = clip(r), clip(g), clip(b)
	}
}

// vertical computes the output from rows, of which the first is input row lo.
func (a *axis) vertical(rows []byte, lo int) []byte {
	out := make([]byte, side*rowBytes)
	var sum [rowBytes]int32
	for i := range side {
		for j := range sum {
			sum[j] = 1 << (precisionBits - 1)
		}
		for t, w := range a.weight[i] {
			row := rows[(a.start[i]+t-lo)*rowBytes:][:rowBytes]
			for j, v := range row {
				sum[j] += int32(v) * w
			}
		}
		o := out[i*rowBytes:][:rowBytes]
		for j, s := range sum {
			o[j] = clip(s)
		}
	}
	return out
}

// clip rounds a sum of weighted samples to 8 bits.
func clip(v int32) byte {
	v >>= precisionBits
	if uint32(v) <= 255 {
		return byte(v)
	}
	if v < 0 {
		return 0
	}
	return 255
}
