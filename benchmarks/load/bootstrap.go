package load

import (
	"math"
	"math/rand/v2"
	"slices"
)

// Ratio is how many times a figure of A the same figure of B is: the geometric
// mean over pairs of blocks, with a 95 % interval.
type Ratio struct {
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Pairs int     `json:"pairs"`
}

// resamples of the bootstrap.
const resamples = 10_000

// ratioOf compares paired figures; pairs in which either is not positive are
// left out. Of none it is nil. The blocks of a pair ran one after the other, so
// that what the machine did meanwhile is in both.
func ratioOf(a, b []float64, seed uint64) *Ratio {
	var logs []float64
	for i := range min(len(a), len(b)) {
		if a[i] > 0 && b[i] > 0 {
			logs = append(logs, math.Log(b[i]/a[i]))
		}
	}
	if len(logs) == 0 {
		return nil
	}
	random := rand.New(rand.NewPCG(seed, 0xB0075))
	means := make([]float64, resamples)
	for i := range means {
		sum := 0.0
		for range logs {
			sum += logs[random.IntN(len(logs))]
		}
		means[i] = sum / float64(len(logs))
	}
	slices.Sort(means)
	sum := 0.0
	for _, v := range logs {
		sum += v
	}
	figure := func(log float64) float64 { return math.Round(math.Exp(log)*1e4) / 1e4 }
	return &Ratio{
		Ratio: figure(sum / float64(len(logs))), Pairs: len(logs),
		Low: figure(rank(means, 0.025)), High: figure(rank(means, 0.975)),
	}
}
