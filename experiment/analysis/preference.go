package analysis

import (
	"math"

	"github.com/agiqa/agiqa/experiment/stats"
)

// preferences compares the arms on pairs of images.
func (s *State) preferences(v view, confidence float64) Preference {
	r := Preference{Basis: v.basis, Pairs: len(v.pairs)}
	if len(v.pairs) == 0 {
		return r
	}
	for _, p := range v.pairs {
		r.Votes += len(p.winners)
		for _, w := range p.winners {
			if w == tie {
				r.Ties++
			}
		}
	}
	arms := append([]int{s.control}, s.treatments()...)
	wins := make([][]float64, len(arms))
	for k, arm := range arms {
		wins[k] = make([]float64, len(arms))
		for j, other := range arms {
			if j != k {
				wins[k][j] = float64(v.onlyFirst(arm, other))
			}
		}
	}
	abilities, abilityErr := stats.BradleyTerry(wins)
	for k, arm := range arms {
		a := PreferenceArm{Arm: s.e.Arms[arm].ID, Accuracy: unknown(), SE: unknown(), Ability: unknown(), SEOf: unknown()}
		if m, err := stats.MomentsOf(v.accuracies(arm)); err == nil && m.N() > 1 {
			a.Accuracy, a.SE = Number(m.Mean()), Number(m.SD()/math.Sqrt(float64(m.N())))
		}
		if abilityErr == nil {
			a.Ability, a.SEOf = Number(abilities[k].LogStrength), Number(abilities[k].SE)
		}
		r.Arms = append(r.Arms, a)
		if arm != s.control {
			r.Treatments = append(r.Treatments, s.against(v, arm, confidence))
		}
	}
	return r
}

// accuracies are, pair by pair, the share of raters whose preference an arm
// predicts. Raters of one pair see the same two images, so that the pair is the
// observation, however many they are.
func (v view) accuracies(arm int) []float64 {
	shares := make([]float64, len(v.pairs))
	for i, p := range v.pairs {
		for _, w := range p.winners {
			shares[i] += p.correct(arm, w) / float64(len(p.winners))
		}
	}
	return shares
}

// predicts reports whether an arm orders a pair as a vote does.
func (p preferred) predicts(arm int, w winner) bool {
	return w == lowWins && p.a[arm] > p.b[arm] || w == highWins && p.a[arm] < p.b[arm]
}

// balance is by how many votes more one arm predicts than another.
func (p preferred) balance(arm, other int) int {
	n := 0
	for _, w := range p.winners {
		if p.predicts(arm, w) {
			n++
		}
		if p.predicts(other, w) {
			n--
		}
	}
	return n
}

// onlyFirst counts the pairs of which one arm predicts more votes than another.
func (v view) onlyFirst(arm, other int) int {
	n := 0
	for _, p := range v.pairs {
		if p.balance(arm, other) > 0 {
			n++
		}
	}
	return n
}

func (s *State) against(v view, arm int, confidence float64) PreferenceAgainst {
	a := PreferenceAgainst{
		Arm: s.e.Arms[arm].ID, OnlyArm: v.onlyFirst(arm, s.control), OnlyControl: v.onlyFirst(s.control, arm),
		McNemar: unknown(), AnytimeP: unknown(), ShareLow: unknown(), ShareHigh: unknown(),
	}
	if p, err := stats.McNemar(a.OnlyControl, a.OnlyArm); err == nil {
		a.McNemar = Number(p)
	} else {
		a.Note = err.Error()
	}
	var process stats.Preferences
	for _, p := range v.pairs {
		if balance := p.balance(arm, s.control); balance != 0 {
			process.Add(balance > 0)
		}
	}
	a.AnytimeP = Number(process.P())
	share := process.Interval(1 - confidence)
	a.ShareLow, a.ShareHigh = Number(share.Low), Number(share.High)
	return a
}
