package stats

import (
	"math"

	"gonum.org/v1/gonum/stat/distuv"
)

// McNemar compares two arms that were right or wrong on the same pairs (McNemar
// 1947): onlyFirst counts the pairs that only the first got right, onlySecond those
// that only the second did; other pairs don't matter. It returns the exact two-sided
// binomial p-value. At least one pair must differ.
func McNemar(onlyFirst, onlySecond int) (float64, error) {
	n := onlyFirst + onlySecond
	if n == 0 {
		return 0, fault("counts", "the arms do not differ on any pair")
	}
	return math.Min(1, 2*distuv.Binomial{N: float64(n), P: 0.5}.CDF(float64(min(onlyFirst, onlySecond)))), nil
}
