package stats

import "slices"

// Holm adjusts p-values for their number, step by step from the smallest (Holm
// 1979): a hypothesis is rejected at level alpha when its adjusted value is at
// most alpha, and the chance of a false rejection among all is at most alpha,
// whatever the dependence. The order is kept.
func Holm(ps []float64) ([]float64, error) {
	if err := checkPs(ps); err != nil {
		return nil, err
	}
	order := make([]int, len(ps))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int {
		switch {
		case ps[a] < ps[b]:
			return -1
		case ps[a] > ps[b]:
			return 1
		}
		return 0
	})
	adjusted := make([]float64, len(ps))
	var highest float64
	for rank, i := range order {
		highest = max(highest, min(1, float64(len(ps)-rank)*ps[i]))
		adjusted[i] = highest
	}
	return adjusted, nil
}

func checkPs(ps []float64) error {
	for i, p := range ps {
		if !(p >= 0 && p <= 1) {
			return fault("p-values", "value %d is %v, not within 0 to 1", i, p)
		}
	}
	return nil
}
