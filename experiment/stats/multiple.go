package stats

import (
	"cmp"
	"slices"
)

// Holm adjusts p-values for their number, step by step from the smallest (Holm
// 1979): a hypothesis is rejected at level alpha when its adjusted value is at
// most alpha, and the chance of a false rejection among all is at most alpha,
// whatever the dependence. The order is kept.
func Holm(ps []float64) []float64 {
	order := make([]int, len(ps))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(ps[a], ps[b]) })
	adjusted := make([]float64, len(ps))
	var highest float64
	for rank, i := range order {
		highest = max(highest, min(1, float64(len(ps)-rank)*ps[i]))
		adjusted[i] = highest
	}
	return adjusted
}
