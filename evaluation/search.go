package evaluation

import "math"

// The constants of the search. They belong to the definition of the figures and
// change only together with training/agiqa_train/agreement/logistic.py.
const (
	firstDamping      = 1e-3
	leastDamping      = 1e-12
	mostDamping       = 1e12
	smallestCurvature = 1e-9 // times n; keeps a parameter without influence from moving
	smallGain         = 1e-14
	smallGains        = 3
	perfect           = 1e-28 // times n, in units of the standardised opinions
	trials            = 2000
	better            = 1e-9
)

// model gives the value at z for parameters p, and fills its derivatives by p.
type model func(z float64, p, gradient []float64) float64

// search is Levenberg-Marquardt on the sum of squares of f(z)-w. A step d
// solves (J'J + damping*diag(max(J'J_ii, 1e-9 n))) d = -J'r; damping is divided
// by 10 when the sum falls and multiplied by 10 when it does not. It ends after
// three steps in a row that gain no more than one part in 10^14, when nothing is
// left to gain, when damping exceeds 10^12, or after 2,000 trials. It returns the
// parameters and the sum they leave.
func search(f model, start, z, w []float64) ([]float64, float64) {
	p := start
	damping, gains := firstDamping, 0
	normal := newNormal(len(p))
	sum := normal.fill(f, p, z, w)
	spare := newNormal(len(p))
	limit := smallestCurvature * float64(len(z))
	for range trials {
		if sum <= perfect*float64(len(z)) || damping > mostDamping {
			break
		}
		step, ok := normal.step(damping, limit)
		if !ok {
			damping *= 10
			continue
		}
		for i := range step {
			step[i] += p[i]
		}
		trial := spare.fill(f, step, z, w)
		if !(trial < sum) { // NaN is no gain
			damping *= 10
			continue
		}
		if sum-trial <= smallGain*sum {
			gains++
		} else {
			gains = 0
		}
		p, sum = step, trial
		normal, spare = spare, normal
		damping = math.Max(damping/10, leastDamping)
		if gains == smallGains {
			break
		}
	}
	return p, sum
}

// normal holds J'J and J'r at one point.
type normal struct {
	curvature [][]float64 // lower triangle
	slope     []float64
	gradient  []float64 // scratch: one row of J
}

func newNormal(parameters int) *normal {
	n := &normal{
		curvature: make([][]float64, parameters),
		slope:     make([]float64, parameters),
		gradient:  make([]float64, parameters),
	}
	for i := range n.curvature {
		n.curvature[i] = make([]float64, parameters)
	}
	return n
}

// fill computes the equations at p and returns the sum of squares there.
func (n *normal) fill(f model, p, z, w []float64) float64 {
	clear(n.slope)
	for _, row := range n.curvature {
		clear(row)
	}
	var sum float64
	for k := range z {
		residual := f(z[k], p, n.gradient) - w[k]
		sum += float64(residual * residual)
		for i, gi := range n.gradient {
			n.slope[i] += float64(gi * residual)
			for j := range i + 1 {
				n.curvature[i][j] += float64(gi * n.gradient[j])
			}
		}
	}
	return sum
}

// step solves the damped equations by Cholesky; false when they are not positive
// definite.
func (n *normal) step(damping, limit float64) ([]float64, bool) {
	size := len(n.slope)
	factor := make([][]float64, size)
	x := make([]float64, size)
	for i := range size {
		factor[i] = make([]float64, size)
		for j := range i + 1 {
			v := n.curvature[i][j]
			if i == j {
				v += float64(damping * math.Max(v, limit))
			}
			for k := range j {
				v -= float64(factor[i][k] * factor[j][k])
			}
			if i != j {
				factor[i][j] = v / factor[j][j]
				continue
			}
			if !(v > 0) || math.IsInf(v, 0) {
				return nil, false
			}
			factor[i][i] = math.Sqrt(v)
		}
		x[i] = -n.slope[i]
		for k := range i {
			x[i] -= float64(factor[i][k] * x[k])
		}
		x[i] /= factor[i][i]
	}
	for i := size - 1; i >= 0; i-- {
		for k := i + 1; k < size; k++ {
			x[i] -= float64(factor[k][i] * x[k])
		}
		x[i] /= factor[i][i]
	}
	return x, true
}
