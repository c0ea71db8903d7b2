package evaluation

import (
	"math"
	"slices"
)

// Logistic is a mapping of scores to the scale of opinions, by its coefficients
// in the units of the data. Four of them:
//
//	f(x) = b2 + (b1-b2)/(1+exp(-(x-b3)/b4)), b4 > 0
//
// and five:
//
//	f(x) = b1*(1/2-1/(1+exp(b2*(x-b3)))) + b4*x + b5
type Logistic []float64

// At maps one score.
func (l Logistic) At(x float64) float64 {
	if len(l) == 4 {
		return l[1] + float64((l[0]-l[1])*sigmoid((x-l[2])/l[3]))
	}
	return float64(l[0]*(sigmoid(l[1]*(x-l[2]))-0.5)) + float64(l[3]*x) + l[4]
}

// FitLogistic returns the least-squares mappings of x to y with four and with
// five parameters; nil where a constant list or too few values (fewer than four,
// or five) leave nothing to fit.
//
// Both lists are standardised, z and w, and a Levenberg-Marquardt search runs in
// these units. It starts at top, bottom, centre, slope = max w, min w, 0, 4 (top
// and bottom exchanged when the correlation is negative), and at height, slope,
// centre, tilt, offset = max w - min w, 1, 0, 0, 0 (height negated). The five
// parameters are sought a second time from the solution with four, and that
// result is taken when it is better by more than one part in 10^9.
func FitLogistic(x, y []float64) (four, five Logistic) {
	correlation := PLCC(x, y)
	if math.IsNaN(correlation) || len(x) < fewestToFit {
		return nil, nil
	}
	z, xScale := standardise(x)
	w, yScale := standardise(y)
	high, low := slices.Max(w), slices.Min(w)
	top, bottom := high, low
	if correlation < 0 {
		top, bottom = low, high
	}
	p4, s4 := search(model4, []float64{top, bottom, 0, 4}, z, w)
	if p4[3] != 0 && !math.IsInf(s4, 0) {
		if p4[3] < 0 {
			p4[0], p4[1], p4[3] = p4[1], p4[0], -p4[3]
		}
		four = Logistic{
			yScale.undo(p4[0]), yScale.undo(p4[1]), xScale.undo(p4[2]), xScale.deviation / p4[3],
		}
	}
	p5, s5 := search(model5, []float64{top - bottom, 1, 0, 0, 0}, z, w)
	nested := []float64{p4[0] - p4[1], p4[3], p4[2], 0, (p4[0] + p4[1]) / 2}
	if q5, t5 := search(model5, nested, z, w); t5 < s5*(1-better) {
		p5 = q5
	}
	b4 := p5[3] * yScale.deviation / xScale.deviation
	return four, Logistic{
		p5[0] * yScale.deviation, p5[1] / xScale.deviation, xScale.undo(p5[2]),
		b4, yScale.undo(p5[4]) - float64(b4*xScale.mean),
	}
}

const fewestToFit = 10

// scale remembers how a list was standardised.
type scale struct{ mean, deviation float64 }

func (s scale) undo(v float64) float64 { return float64(v*s.deviation) + s.mean }

// standardise subtracts the mean and divides by the population's standard
// deviation.
func standardise(values []float64) ([]float64, scale) {
	s := scale{mean: mean(values)}
	var sum float64
	for _, v := range values {
		sum += float64((v - s.mean) * (v - s.mean))
	}
	s.deviation = math.Sqrt(sum / float64(len(values)))
	units := make([]float64, len(values))
	for i, v := range values {
		units[i] = (v - s.mean) / s.deviation
	}
	return units, s
}

// model4 takes top, bottom, centre, slope; it fills gradient and returns the
// value at z.
func model4(z float64, p, gradient []float64) float64 {
	s := sigmoid(p[3] * (z - p[2]))
	bend := (p[0] - p[1]) * s * (1 - s)
	gradient[0], gradient[1] = s, 1-s
	gradient[2], gradient[3] = -p[3]*bend, (z-p[2])*bend
	return p[1] + float64((p[0]-p[1])*s)
}

// model5 takes height, slope, centre, tilt, offset.
func model5(z float64, p, gradient []float64) float64 {
	s := sigmoid(p[1] * (z - p[2]))
	bend := p[0] * s * (1 - s)
	gradient[0], gradient[1], gradient[2] = s-0.5, (z-p[2])*bend, -p[1]*bend
	gradient[3], gradient[4] = z, 1
	return float64(p[0]*(s-0.5)) + float64(p[3]*z) + p[4]
}
