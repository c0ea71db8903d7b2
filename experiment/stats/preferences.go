package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Preferences is an e-process for the share of wins: the ratio of a beta mixture
// of binomials to the one of share 1/2 (Robbins 1970; Howard et al. 2021), and the
// test of share = 1/2 that may be read after every win or loss. The caller leaves
// ties out: they don't say who wins. Wins are independent: of a pair that many
// people judged the majority is one. The zero value has seen nothing.
//
// It serves pairwise preferences (a win is one of the treatment's images) and the
// concordance of two arms (a win is a pair that only the treatment orders as
// people do). A Preferences isn't safe for concurrent use.
type Preferences struct {
	wins, losses int
	evidence     evidence
}

// Add takes one pair.
func (p *Preferences) Add(win bool) {
	if win {
		p.wins++
	} else {
		p.losses++
	}
	p.evidence.set(p.logE(0.5))
}

// P is the anytime-valid p-value: 1 over the largest e-value so far.
func (p *Preferences) P() float64 { return p.evidence.p() }

// logE is the evidence against a share: the uniform mixture of all shares over it.
func (p *Preferences) logE(share float64) float64 {
	w, l := float64(p.wins), float64(p.losses)
	return mathext.Lbeta(w+1, l+1) - w*math.Log(share) - l*math.Log1p(-share)
}

// Interval contains the share of wins, whenever it is read, with probability
// 1-alpha: all shares whose own e-value is below 1/alpha.
func (p *Preferences) Interval(alpha float64) Interval {
	limit := -math.Log(alpha)
	i := Interval{0, 1}
	top := float64(p.wins) / float64(max(1, p.wins+p.losses))
	if p.wins > 0 {
		i.Low = p.crossing(0, top, limit)
	}
	if p.losses > 0 {
		i.High = p.crossing(1, top, limit)
	}
	return i
}

// crossing halves between a share with much evidence against it and one with
// little, and returns the outer end.
func (p *Preferences) crossing(outside, inside, limit float64) float64 {
	for range 60 {
		middle := (outside + inside) / 2
		if p.logE(middle) >= limit {
			outside = middle
		} else {
			inside = middle
		}
	}
	return outside
}
