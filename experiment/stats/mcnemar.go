package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// McNemarTest is the outcome of [McNemar].
type McNemarTest struct {
	Exact      float64 // two-sided binomial p-value; holds its level, and is cautious
	MidP       float64 // less half the chance of what was seen (Fagerland, Lydersen, Laake 2013)
	Continuity Test    // chi-square with Edwards' correction, one degree of freedom
}

// McNemar compares two arms that were right or wrong on the same pairs (McNemar
// 1947): onlyFirst counts those that only the first had right, onlySecond the
// others on which they differ. Pairs on which both were right or both wrong say
// nothing. At least one pair must differ.
func McNemar(onlyFirst, onlySecond int) (McNemarTest, error) {
	if onlyFirst < 0 || onlySecond < 0 {
		return McNemarTest{}, fault("counts", "%d and %d: one is below 0", onlyFirst, onlySecond)
	}
	n := onlyFirst + onlySecond
	if n == 0 {
		return McNemarTest{}, tooFew("counts", "the arms do not differ on any pair")
	}
	fewer := float64(min(onlyFirst, onlySecond))
	d := distuv.Binomial{N: float64(n), P: 0.5}
	upTo, seen := d.CDF(fewer), d.Prob(fewer)
	apart := max(0, math.Abs(float64(onlyFirst-onlySecond))-1)
	return McNemarTest{
		Exact:      math.Min(1, 2*upTo),
		MidP:       math.Min(1, 2*upTo-seen),
		Continuity: chiSquareTest(apart*apart/float64(n), 1),
	}, nil
}
