package load

import (
	"math"

	"github.com/agiqa/agiqa/evaluation"
)

// Ratio is how many times a figure of A the same figure of B is: the geometric
// mean over pairs of blocks, with a 95 % interval
// (bias-corrected and accelerated bootstrap).
type Ratio struct {
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
	Pairs int     `json:"pairs"`
}

// ratioOf compares paired figures; pairs in which either is not positive are
// left out. Of none it is nil. The blocks of a pair ran one after the other, so
// that what the machine did meanwhile is in both.
func ratioOf(x, y []float64, seed uint64) *Ratio {
	var logs []float64
	for i := range min(len(x), len(y)) {
		if x[i] > 0 && y[i] > 0 {
			logs = append(logs, math.Log(y[i]/x[i]))
		}
	}
	if len(logs) == 0 {
		return nil
	}
	b := evaluation.Bootstrap{Replicates: 10_000, Confidence: 0.95, Seed: seed, Workers: 1}
	estimate, low, high := b.Interval(len(logs), func(chosen []int) float64 {
		sum := 0.0
		for _, i := range chosen {
			sum += logs[i]
		}
		return sum / float64(len(chosen))
	})
	figure := func(log float64) float64 { return math.Round(math.Exp(log)*1e4) / 1e4 }
	return &Ratio{Ratio: figure(estimate), Pairs: len(logs), Low: figure(low), High: figure(high)}
}
