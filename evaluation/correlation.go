package evaluation

import (
	"cmp"
	"math"
	"slices"
)

// PLCC is Pearson's linear correlation of two lists of one length. It is NaN
// when there are fewer than two values or when one list is constant.
func PLCC(x, y []float64) float64 {
	if len(x) < 2 || constant(x) || constant(y) {
		return math.NaN()
	}
	xMean, yMean := mean(x), mean(y)
	var xy, xx, yy float64
	for i := range x {
		dx, dy := x[i]-xMean, y[i]-yMean
		xy += float64(dx * dy)
		xx += float64(dx * dx)
		yy += float64(dy * dy)
	}
	return xy / math.Sqrt(xx) / math.Sqrt(yy)
}

// SRCC is Spearman's rank correlation: Pearson's on the ranks.
func SRCC(x, y []float64) float64 {
	return PLCC(Ranks(x), Ranks(y))
}

// RMSE is the root mean squared difference of two lists of one length.
func RMSE(x, y []float64) float64 {
	var sum float64
	for i := range x {
		sum += float64((x[i] - y[i]) * (x[i] - y[i]))
	}
	return math.Sqrt(sum / float64(len(x)))
}

// Ranks counts from 1; equal values share the mean of their ranks.
func Ranks(values []float64) []float64 {
	order := ascending(len(values), func(a, b int) int { return cmp.Compare(values[a], values[b]) })
	ranks := make([]float64, len(values))
	for first := 0; first < len(order); {
		end := first + 1
		for end < len(order) && values[order[end]] == values[order[first]] {
			end++
		}
		for _, i := range order[first:end] {
			ranks[i] = float64(first+1+end) / 2
		}
		first = end
	}
	return ranks
}

// KRCC is Kendall's tau-b in O(n log n) (Knight 1966). It is NaN when there are
// fewer than two values or when one list is constant.
//
// Pairs are sorted by x, then y; the discordant ones are then the inversions of
// y. With n0 pairs in all, n1 tied in x, n2 in y and n3 in both, concordant minus
// discordant is n0-n1-n2+n3-2*inversions.
func KRCC(x, y []float64) float64 {
	order := ascending(len(x), func(a, b int) int {
		return cmp.Or(cmp.Compare(x[a], x[b]), cmp.Compare(y[a], y[b]))
	})
	n := int64(len(x))
	pairs := n * (n - 1) / 2
	sameX := func(a, b int) bool { return x[order[a]] == x[order[b]] }
	sameBoth := func(a, b int) bool { return sameX(a, b) && y[order[a]] == y[order[b]] }
	xTies, bothTies := tiedPairs(len(x), sameX), tiedPairs(len(x), sameBoth)
	row := make([]float64, len(y))
	for i, place := range order {
		row[i] = y[place]
	}
	swaps := sortCountingSwaps(row, make([]float64, len(row)))
	yTies := tiedPairs(len(row), func(a, b int) bool { return row[a] == row[b] })
	if n < 2 || xTies == pairs || yTies == pairs {
		return math.NaN()
	}
	difference := float64(pairs - xTies - yTies + bothTies - 2*swaps)
	return difference / math.Sqrt(float64(pairs-xTies)) / math.Sqrt(float64(pairs-yTies))
}

// tiedPairs counts the pairs within runs of neighbours that are the same.
func tiedPairs(n int, same func(a, b int) bool) int64 {
	var total, run int64
	for i := 1; i < n; i++ {
		if same(i-1, i) {
			run++
			total += run
		} else {
			run = 0
		}
	}
	return total
}

// sortCountingSwaps sorts values by merging and returns how many pairs stood in
// the wrong order. spare has the length of values.
func sortCountingSwaps(values, spare []float64) int64 {
	if len(values) < 2 {
		return 0
	}
	middle := len(values) / 2
	left, right := values[:middle], values[middle:]
	swaps := sortCountingSwaps(left, spare[:middle]) + sortCountingSwaps(right, spare[middle:])
	merged := spare[:0]
	for len(left) > 0 && len(right) > 0 {
		if right[0] < left[0] {
			swaps += int64(len(left))
			merged, right = append(merged, right[0]), right[1:]
		} else {
			merged, left = append(merged, left[0]), left[1:]
		}
	}
	merged = append(append(merged, left...), right...)
	copy(values, merged)
	return swaps
}

// ascending returns 0..n-1 in the order of compare.
func ascending(n int, compare func(a, b int) int) []int {
	order := make([]int, n)
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, compare)
	return order
}

func mean(values []float64) float64 {
	var sum float64
	for _, v := range values {
		sum += v
	}
	return sum / float64(len(values))
}

// smallestSpread has a square that is still a normal number.
const smallestSpread = 1e-100

func constant(values []float64) bool {
	return slices.Max(values)-slices.Min(values) <= smallestSpread
}
