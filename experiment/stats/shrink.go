package stats

import "math"

// SliceEffect is an effect in one slice of the images (a style, a generator) with
// its standard error, above 0. Slices do not overlap.
type SliceEffect struct{ Effect, SE float64 }

// ShrunkEffect is what is left of a slice's effect after chance is discounted.
type ShrunkEffect struct {
	Effect float64 // between the slice's own and the mean
	SE     float64
	Kept   float64 // the weight of the slice's own effect, 0 to 1
}

// Shrink draws the effects of at least three slices towards their mean, the more
// the less certain they are: empirical Bayes in the normal model (Efron and Morris
// 1975; Morris 1983, with the mean's own uncertainty), the variance between slices
// by DerSimonian and Laird (1986). The largest effect of many slices is mostly
// luck; this is the figure to show.
func Shrink(slices []SliceEffect) ([]ShrunkEffect, error) {
	if len(slices) < 3 {
		return nil, fault("slices", "%d are too few, 3 are needed", len(slices))
	}
	for i, s := range slices {
		if !finite(s.Effect) || !(s.SE > 0) || !finite(s.SE) {
			return nil, fault("slices", "value %d is %+v: want a finite effect and a standard error above 0", i, s)
		}
	}
	fixed, weights, squares := weighted(slices, 0)
	var q float64
	for _, s := range slices {
		d := (s.Effect - fixed) / s.SE
		q += d * d
	}
	df := float64(len(slices) - 1)
	between := max(0, (q-df)/(weights-squares/weights))
	mean, weights, _ := weighted(slices, between)
	meanSE := 1 / math.Sqrt(weights)
	var out []ShrunkEffect
	for _, s := range slices {
		kept := between / (between + s.SE*s.SE)
		lost := (1 - kept) * meanSE
		out = append(out, ShrunkEffect{
			Effect: kept*s.Effect + (1-kept)*mean,
			SE:     math.Sqrt(kept*s.SE*s.SE + lost*lost),
			Kept:   kept,
		})
	}
	return out, nil
}

// weighted is the mean by inverse variance, the sum of the weights, and of their
// squares.
func weighted(slices []SliceEffect, between float64) (mean, weights, squares float64) {
	for _, s := range slices {
		w := 1 / (s.SE*s.SE + between)
		mean += w * s.Effect
		weights += w
		squares += w * w
	}
	return mean / weights, weights, squares
}
