package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// Test is the outcome of a test of one hypothesis.
type Test struct {
	Statistic float64 // t, z or chi-square, as the function says
	DF        float64 // degrees of freedom; 0 for a z
	P         float64 // two-sided p-value, 0 to 1
}

// Interval is a closed interval; a one-sided one has an infinite end.
type Interval struct{ Low, High float64 }

// Contains reports whether v lies in it.
func (i Interval) Contains(v float64) bool { return i.Low <= v && v <= i.High }

// Hull is the smallest interval that holds both.
func (i Interval) Hull(o Interval) Interval { return Interval{min(i.Low, o.Low), max(i.High, o.High)} }

// Everything is the interval that says nothing.
func Everything() Interval { return Interval{math.Inf(-1), math.Inf(1)} }

// normalQuantile is the z below which lies the given share, between 0 and 1.
func normalQuantile(share float64) float64 { return -math.Sqrt2 * math.Erfcinv(2*share) }

// normalTails is the share of a normal distribution farther from 0 than z.
func normalTails(z float64) float64 { return math.Erfc(math.Abs(z) / math.Sqrt2) }

func zTest(z float64) Test { return Test{Statistic: z, P: normalTails(z)} }

func tTest(t, df float64) Test {
	d := distuv.StudentsT{Mu: 0, Sigma: 1, Nu: df}
	return Test{Statistic: t, DF: df, P: math.Min(1, 2*d.Survival(math.Abs(t)))}
}

// tQuantile is the t below which lies the given share.
func tQuantile(share, df float64) float64 {
	return distuv.StudentsT{Mu: 0, Sigma: 1, Nu: df}.Quantile(share)
}

func chiSquareTest(x, df float64) Test {
	return Test{Statistic: x, DF: df, P: distuv.ChiSquared{K: df}.Survival(x)}
}
