package stats

import "math"

// stakes are the shares of the most that may be staked, half of the money on each.
// Two are enough: what a mixture costs is the logarithm of their number.
var stakes = [...]float64{0.95, 0.5}

// BettingInterval holds the mean of bounded values, however often it is read: each
// end is missed with a chance of at most alpha, at any sample size and for any
// distribution between -reach and reach. It is the set of means against which nobody
// who bets on the values, one after the other and at stakes that were fixed before,
// would have made 1/alpha of their money (Waudby-Smith and Ramdas, "Estimating means
// of bounded random variables by betting", 2024). Where rare values are large, an
// asymptotic interval is too narrow until some were seen; this one is not.
func BettingInterval(values []float64, reach, alpha float64) Interval {
	i := Interval{-reach, reach}
	if len(values) == 0 || !(reach > 0) || math.IsInf(reach, 0) {
		return Everything()
	}
	negated := make([]float64, len(values))
	for k, v := range values {
		negated[k] = -v
	}
	i.Low = highestRefuted(values, reach, alpha)
	i.High = -highestRefuted(negated, reach, alpha)
	return i
}

// highestRefuted is the largest mean for which betting on more has paid.
func highestRefuted(values []float64, reach, alpha float64) float64 {
	low, high := -reach, reach
	for range 24 { // to 1e-7 of the reach
		middle := (low + high) / 2
		if pays(values, middle, reach, 1/alpha) {
			low = middle
		} else {
			high = middle
		}
	}
	return low
}

// pays reports whether bets that values are above a mean ever made target of 1. A
// stake leaves money whatever value comes.
func pays(values []float64, mean, reach, target float64) bool {
	var money [len(stakes)]float64
	var stake [len(stakes)]float64
	for j, share := range stakes {
		money[j], stake[j] = 1/float64(len(stakes)), share/(reach+max(0, mean))
	}
	for _, v := range values {
		total := 0.0
		for j := range money {
			money[j] *= 1 + stake[j]*(v-mean)
			total += money[j]
		}
		if total >= target {
			return true
		}
	}
	return false
}
