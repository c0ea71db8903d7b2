package encoder

import (
	"math"
)

// dense is a matrix of weights [in,out] in row-major order.
type dense struct {
	in, out int
	v       []float32
}

func newDense(in, out int) dense { return dense{in, out, make([]float32, in*out)} }

// row returns the weights of one input.
func (d dense) row(i int) []float32 { return d.v[i*d.out : (i+1)*d.out] }

// beside returns the matrix whose outputs are those of the parts, in order.
func beside(parts ...dense) dense {
	out := 0
	for _, p := range parts {
		out += p.out
	}
	joined := newDense(parts[0].in, out)
	for i := range joined.in {
		to := joined.row(i)
		for _, p := range parts {
			to = to[copy(to, p.row(i)):]
		}
	}
	return joined
}

// columns returns outputs from..to of d.
func (d dense) columns(from, to int) dense {
	part := newDense(d.in, to-from)
	for i := range d.in {
		copy(part.row(i), d.row(i)[from:to])
	}
	return part
}

// scale multiplies every weight in place.
func (d dense) scale(by float32) {
	for i := range d.v {
		d.v[i] *= by
	}
}

// multiplyRows multiplies the weights of input i by s[i], in place.
func (d dense) multiplyRows(s []float32) {
	for i := range d.in {
		for j, row := 0, d.row(i); j < len(row); j++ {
			row[j] *= s[i]
		}
	}
}

// divideColumns divides the weights of output from+j by s[j], in place.
func (d dense) divideColumns(from int, s []float32) {
	for i := range d.in {
		for j, row := 0, d.row(i)[from:]; j < len(s); j++ {
			row[j] /= s[j]
		}
	}
}

// levels is the largest magnitude of a quantised weight. -128 stays unused, so
// that a weight and its negative have the same error.
const levels = 127

// quantise rounds each column to whole multiples of its own scale, halves to
// even: weights [in,out] as int8 and one scale for each output. A column of
// zeros has scale 1.
func (d dense) quantise() (q []byte, scales []float32) {
	scales = make([]float32, d.out)
	for i := range d.in {
		for j, w := range d.row(i) {
			if w = float32(math.Abs(float64(w))); w > scales[j] {
				scales[j] = w
			}
		}
	}
	for j := range scales {
		if scales[j] /= levels; scales[j] == 0 {
			scales[j] = 1
		}
	}
	q = make([]byte, len(d.v))
	for i := range d.in {
		to := q[i*d.out:]
		for j, w := range d.row(i) { // no result is beyond levels: each scale is its column's largest weight
			to[j] = byte(int8(math.RoundToEven(float64(w / scales[j]))))
		}
	}
	return q, scales
}

// divide divides v by s in place, element by element.
func divide(v, s []float32) {
	for i := range v {
		v[i] /= s[i]
	}
}
