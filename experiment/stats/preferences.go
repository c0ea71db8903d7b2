package stats

import (
	"math"

	"gonum.org/v1/gonum/mathext"
)

// Accuracy is how often scores prefer the image that people prefer.
type Accuracy struct {
	Value float64 // 0 to 1; 1/2 is guessing
	SE    float64 // standard error, pairs taken as independent
	Pairs int
	Ties  int // pairs without a preference on one side, each counted as half right
}

// PreferenceAccuracy is two-alternative forced-choice accuracy. differences are the
// score of the first image less that of the second, preferred is above 0 where
// people prefer the first, below 0 the second, and 0 where they do not say. A tie
// on either side is half right. At least two pairs.
func PreferenceAccuracy(differences []float64, preferred []int) (Accuracy, error) {
	if len(differences) != len(preferred) {
		return Accuracy{}, fault("preferred", "there are %d, and %d differences", len(preferred), len(differences))
	}
	if err := checkValues("differences", differences, 2); err != nil {
		return Accuracy{}, err
	}
	var m Moments
	a := Accuracy{Pairs: len(differences)}
	for i, d := range differences {
		credit := 0.0
		switch {
		case d == 0 || preferred[i] == 0:
			credit = 0.5
			a.Ties++
		case (d > 0) == (preferred[i] > 0):
			credit = 1
		}
		m.add(credit)
	}
	a.Value, a.SE = m.mean, m.SD()/math.Sqrt(float64(m.n))
	return a, nil
}

// Preferences is an e-process for the share of wins: the ratio of a beta mixture
// of binomials to the one of share 1/2 (Robbins 1970; Howard et al. 2021), and the
// test that may be read after every win or loss. Ties are left out by the caller:
// they say nothing of who wins.
//
// It serves pairwise preferences (a win is one of the treatment's images) and the
// concordance of two arms (a win is a pair that only the treatment orders as
// people do). The value is not safe for several goroutines.
type Preferences struct {
	side         Side
	wins, losses int
	evidence     evidence
}

// NewPreferences tests share = 1/2 when two-sided. With [Lower] it gathers evidence
// against share <= 1/2, with [Upper] against share >= 1/2.
func NewPreferences(side Side) (*Preferences, error) {
	if err := side.check(); err != nil {
		return nil, err
	}
	return &Preferences{side: side}, nil
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

// logE is the evidence against a share: the uniform mixture of all shares, or of
// those on the side that is looked for, over the share.
func (p *Preferences) logE(share float64) float64 {
	w, l := float64(p.wins), float64(p.losses)
	mixed := mathext.Lbeta(w+1, l+1)
	switch p.side {
	case Lower:
		mixed += logTail(l+1, w+1, 1-share) - math.Log(1-share)
	case Upper:
		mixed += logTail(w+1, l+1, share) - math.Log(share)
	}
	return mixed - w*math.Log(share) - l*math.Log1p(-share)
}

// logTail is the logarithm of the regularised incomplete beta function. Where
// that is too small for a float64 it is the first term of its series, which is
// below the whole: evidence is understated.
func logTail(a, b, x float64) float64 {
	if v := mathext.RegIncBeta(a, b, x); v > 1e-290 {
		return math.Log(v)
	}
	return a*math.Log(x) + b*math.Log1p(-x) - math.Log(a) - mathext.Lbeta(a, b)
}

// Interval holds the share of wins, whenever it is read, with probability 1-alpha:
// all shares whose own e-value is below 1/alpha. One-sided ones reach to 1 or 0.
func (p *Preferences) Interval(alpha float64) (Interval, error) {
	if err := checkShare("alpha", alpha); err != nil {
		return Interval{}, err
	}
	limit := -math.Log(alpha)
	i := Interval{0, 1}
	if p.wins+p.losses == 0 {
		return i, nil
	}
	top := float64(p.wins) / float64(p.wins+p.losses)
	if p.side != Upper && p.wins > 0 {
		i.Low = p.crossing(0, top, limit)
	}
	if p.side != Lower && p.losses > 0 {
		i.High = p.crossing(1, top, limit)
	}
	return i, nil
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
