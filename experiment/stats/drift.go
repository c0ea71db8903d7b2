package stats

import (
	"math"
	"slices"

	"github.com/agiqa/agiqa/evaluation"
)

const (
	psiBins    = 10
	fewestPSI  = 100 // ten a bin of the reference
	exactCells = 4_000_000
)

// PSI is the population stability index of current against reference, over 10
// bins that hold equal shares of the reference (cut at its quantiles, equal cuts
// merged): the sum of (c - r) log(c/r) over the bins' shares. Half a value is
// added to every bin, so that an empty one leaves it finite. 0 is no drift; 0.1 is
// commonly watched and 0.25 acted upon. Both lists need at least 100 values.
func PSI(reference, current []float64) (float64, error) {
	if err := checkValues("reference", reference, fewestPSI); err != nil {
		return 0, err
	}
	if err := checkValues("current", current, fewestPSI); err != nil {
		return 0, err
	}
	ordered := slices.Sorted(slices.Values(reference))
	var cuts []float64 // a bin reaches up to its cut, which belongs to it
	for i := 1; i < psiBins; i++ {
		cuts = append(cuts, evaluation.Quantile(ordered, float64(i)/psiBins))
	}
	cuts = slices.Compact(cuts)
	before, now := binned(reference, cuts), binned(current, cuts)
	var index float64
	for i := range before {
		index += (now[i] - before[i]) * math.Log(now[i]/before[i])
	}
	return index, nil
}

// binned is the share of values in each bin, half a value added to all.
func binned(values, cuts []float64) []float64 {
	counts := make([]float64, len(cuts)+1)
	for _, v := range values {
		i, _ := slices.BinarySearch(cuts, v)
		counts[i]++
	}
	for i := range counts {
		counts[i] = (counts[i] + 0.5) / (float64(len(values)) + 0.5*float64(len(counts)))
	}
	return counts
}

// KolmogorovSmirnov is the two-sample test: the statistic is the largest distance
// of the two empirical distributions, 0 to 1. The p-value is exact (paths in a
// lattice, Hodges 1958) while the product of the sizes is at most four million, and
// Kolmogorov's limit beyond. Ties make it conservative. At least 8 values each.
func KolmogorovSmirnov(first, second []float64) (Test, error) {
	if err := checkValues("first", first, 8); err != nil {
		return Test{}, err
	}
	if err := checkValues("second", second, 8); err != nil {
		return Test{}, err
	}
	a, b := slices.Sorted(slices.Values(first)), slices.Sorted(slices.Values(second))
	// Distances are counted in units of 1/(len(a) len(b)), which are whole.
	var i, j, farthest int
	for i < len(a) && j < len(b) {
		v := min(a[i], b[j])
		for i < len(a) && a[i] == v {
			i++
		}
		for j < len(b) && b[j] == v {
			j++
		}
		farthest = max(farthest, abs(i*len(b)-j*len(a)))
	}
	d := float64(farthest) / float64(len(a)) / float64(len(b))
	if farthest == 0 {
		return Test{Statistic: 0, P: 1}, nil
	}
	if len(a) <= exactCells/len(b) {
		return Test{Statistic: d, P: exactKS(len(a), len(b), farthest)}, nil
	}
	n := float64(len(a)) / (1 + float64(len(a))/float64(len(b)))
	return Test{Statistic: d, P: kolmogorovTail(math.Sqrt(n) * d)}, nil
}

// exactKS is the chance that a random path from (0,0) to (m,n) reaches the
// distance: every cell holds the share of the paths to it that stayed below,
// which is an average of the shares of its two neighbours.
func exactKS(m, n, distance int) float64 {
	row := make([]float64, n+1)
	for i := range m + 1 {
		for j := range n + 1 {
			switch {
			case abs(i*n-j*m) >= distance:
				row[j] = 0
			case i == 0:
				row[j] = 1
			case j > 0:
				row[j] = (float64(i)*row[j] + float64(j)*row[j-1]) / float64(i+j)
			}
		}
	}
	return min(1, max(0, 1-row[n]))
}

// kolmogorovTail is 2 * the sum of (-1)^(k-1) exp(-2 k² x²).
func kolmogorovTail(x float64) float64 {
	if x < 0.3 { // the rest is below 1e-5, and the series slow
		return 1
	}
	var sum float64
	for k, sign := 1.0, 1.0; k < 100; k, sign = k+1, -sign {
		term := math.Exp(-2 * k * k * x * x)
		sum += sign * term
		if term < 1e-17 {
			break
		}
	}
	return min(1, max(0, 2*sum))
}

func abs(v int) int { return max(v, -v) }
