package evaluation

import "math"

// A least-squares problem can have long flat valleys, in which a difference in
// the last bit grows to one that shows. So the search repeats that of Python bit
// by bit: its sums run in order, its exponential is made of additions and
// multiplications, and products are converted to float64 before they are added,
// which forbids the compiler to fuse the two.

const (
	inverseLn2    = 1.4426950408889634
	ln2High       = 6.93147180369123816490e-01 // products with the exponents here are exact
	ln2Low        = 1.90821492927058770002e-10
	leastExponent = -700.0
)

// exponential is exp(t) for t <= 0, and 0 from -700 down: t = k*ln 2 + r, a Taylor
// polynomial in r, times 2^k.
func exponential(t float64) float64 {
	if t <= leastExponent {
		return 0
	}
	k := math.Floor(float64(t*inverseLn2) + 0.5)
	r := (t - float64(k*ln2High)) - float64(k*ln2Low)
	value := 1.0 / 6227020800
	for _, coefficient := range [...]float64{
		1.0 / 479001600, 1.0 / 39916800, 1.0 / 3628800, 1.0 / 362880, 1.0 / 40320, 1.0 / 5040,
		1.0 / 720, 1.0 / 120, 1.0 / 24, 1.0 / 6, 1.0 / 2, 1, 1,
	} {
		value = float64(value*r) + coefficient
	}
	return math.Ldexp(value, int(k))
}

// sigmoid is 1/(1+exp(-t)) without overflow.
func sigmoid(t float64) float64 {
	small := exponential(-math.Abs(t))
	if t >= 0 {
		return 1 / (1 + small)
	}
	return small / (1 + small)
}
