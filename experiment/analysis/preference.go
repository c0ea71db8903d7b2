package analysis

import "github.com/agiqa/agiqa/experiment/stats"

// preferences compares the arms on pairs of images.
func (s *State) preferences(v view, confidence float64) Preference {
	r := Preference{Basis: v.basis, Pairs: len(v.pairs)}
	if len(v.pairs) == 0 {
		return r
	}
	preferred := []int{} // of every vote: 1 the lower digest, -1 the other, 0 a tie
	for _, p := range v.pairs {
		for _, w := range p.winners {
			r.Votes++
			switch w {
			case tie:
				r.Ties++
				preferred = append(preferred, 0)
			case lowWins:
				preferred = append(preferred, 1)
			default:
				preferred = append(preferred, -1)
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
		var differences []float64
		for _, p := range v.pairs {
			for range p.winners {
				differences = append(differences, p.a[arm]-p.b[arm])
			}
		}
		if acc, err := stats.PreferenceAccuracy(differences, preferred); err == nil {
			a.Accuracy, a.SE = Number(acc.Value), Number(acc.SE)
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

// only reports for one vote whether each arm predicts it.
func (p preferred) predicts(arm int, w winner) bool {
	return w == lowWins && p.a[arm] > p.b[arm] || w == highWins && p.a[arm] < p.b[arm]
}

// onlyFirst counts the votes that one arm predicts and another does not.
func (v view) onlyFirst(arm, other int) int {
	n := 0
	for _, p := range v.pairs {
		for _, w := range p.winners {
			if p.predicts(arm, w) && !p.predicts(other, w) {
				n++
			}
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
		for _, w := range p.winners {
			if mine, control := p.predicts(arm, w), p.predicts(s.control, w); mine != control {
				process.Add(mine)
			}
		}
	}
	a.AnytimeP = Number(process.P())
	share := process.Interval(1 - confidence)
	a.ShareLow, a.ShareHigh = Number(share.Low), Number(share.High)
	return a
}
