package engine

import (
	"fmt"
	"math"
	"strings"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// What canaries must not show.
const (
	maxSaturated = 0.2  // share of scores at the ends of the scale
	minSpread    = 1e-4 // standard deviation, in widths of the scale
	maxFlips     = 0.5  // share of pairs that an arm ranks against the control: worse than a coin
)

// checkCanaries refuses arms whose scores of the canaries cannot be right:
// conflict, with every fault. It adds what it found to numbers.
func checkCanaries(l *live, scores [][]float32, numbers map[string]string) error {
	if len(scores) != len(l.active) {
		return quality.Errorf(quality.KindInternal, "canaries: %d rows for %d arms", len(scores), len(l.active))
	}
	control := 0
	for k, a := range l.active {
		if a.Role == experiment.Control {
			control = k
		}
	}
	var faults []string
	for k, a := range l.active {
		c := canaryOf(scores[k], scores[control], l.ScoreMin, l.ScoreMax)
		numbers["canary saturation "+string(a.ID)] = number(c.saturated)
		numbers["canary spread "+string(a.ID)] = number(c.spread)
		numbers["canary flips "+string(a.ID)] = number(c.flips)
		switch {
		case c.unsound > 0:
			faults = append(faults, fmt.Sprintf("arm %s: %d of %d canaries have no score on the scale",
				a.ID, c.unsound, len(scores[k])))
		case c.saturated > maxSaturated:
			faults = append(faults,
				fmt.Sprintf("arm %s: %.0f %% of the canaries are at the ends of the scale", a.ID, 100*c.saturated))
		case c.spread < minSpread:
			faults = append(faults, fmt.Sprintf("arm %s gives every canary the same score", a.ID))
		case c.flips > maxFlips:
			faults = append(faults,
				fmt.Sprintf("arm %s ranks %.0f %% of the canaries' pairs against the control", a.ID, 100*c.flips))
		}
	}
	if len(faults) > 0 {
		return quality.Errorf(quality.KindConflict, "the canary check failed: %s", strings.Join(faults, "; "))
	}
	return nil
}

type canary struct {
	unsound   int
	saturated float64
	spread    float64 // standard deviation, in widths of the scale
	flips     float64
}

func canaryOf(scores, control []float32, low, high float64) canary {
	var c canary
	width := high - low
	var sum, squares float64
	for _, s := range scores {
		f := float64(s)
		if math.IsNaN(f) || math.IsInf(f, 0) || width > 0 && (f < low-slack*width || f > high+slack*width) {
			c.unsound++
			continue
		}
		if width > 0 && (f <= low+near*width || f >= high-near*width) {
			c.saturated++
		}
		sum += f
		squares += f * f
	}
	n := float64(len(scores))
	c.saturated /= n
	mean := sum / n
	c.spread = math.Sqrt(max(0, squares/n-mean*mean))
	if width > 0 {
		c.spread /= width
	}
	pairs, flipped := 0, 0
	for i := range scores {
		for j := range i {
			a, b := scores[i]-scores[j], control[i]-control[j]
			if a != 0 && b != 0 {
				pairs++
				if (a > 0) != (b > 0) {
					flipped++
				}
			}
		}
	}
	if pairs > 0 {
		c.flips = float64(flipped) / float64(pairs)
	}
	return c
}

// near is how close to an end of the scale counts as at it, in widths.
const near = 1e-3
