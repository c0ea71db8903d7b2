package analysis

import (
	"fmt"
	"slices"

	"github.com/agiqa/agiqa/experiment/stats"
)

// compareUsers runs the sequence of what users do, by unit, in the order of their
// first thumb.
func (s *State) compareUsers(units []outcome, points int) []Comparison {
	var all []Comparison
	options := s.sequenceOptions()
	options.Events = stats.FewestEvents
	for _, arm := range s.treatments() {
		compared := slices.DeleteFunc(slices.Clone(units), func(u outcome) bool { return u.arm != arm && u.arm != s.control })
		sequence := stats.NewTwoSampleSequence(options)
		c := Comparison{Arm: s.e.Arms[arm].ID, Basis: BasisUsers, Unit: "unit"}
		keep := kept(len(compared), points)
		values := make([]float64, len(compared))
		for i, u := range compared {
			values[i] = u.mean()
			_ = sequence.Add(u.arm == arm, values[i]) // between 0 and 1
			if keep(i + 1) {
				c.track = append(c.track, pointOf(sequence.Bounds()))
			}
		}
		c.Tails = tailsOf(values)
		c = s.conclude(c, sequence.Bounds(), options)
		if n := sequence.Events(); n < options.Events {
			c.Note = fmt.Sprintf("an arm has %d units with a thumb of the rarer kind; %d are needed", n, options.Events)
		}
		all = append(all, c)
	}
	return all
}

// UserOutcomes are what users made of what they were shown: the randomised
// comparison, by unit.
type UserOutcomes struct {
	Arms       []UserArm        `json:"arms"`
	Treatments []UserDifference `json:"treatments"`
}

// UserArm is one arm's.
type UserArm struct {
	Arm    string `json:"arm"`
	Units  int    `json:"units"`
	Thumbs int    `json:"thumbs"`
	// Assigned are the units of the arm, with a thumb or without; LikedShare is that of
	// units among them whose thumbs point up more often than down.
	Assigned   int    `json:"assigned"`
	LikedShare Number `json:"liked_share"`
	Share      Number `json:"share"` // of thumbs up, mean of units
}

// UserDifference is a treatment's against the control: difference of the shares of
// thumbs up.
type UserDifference struct {
	Arm     string   `json:"arm"`
	ByUnit  Estimate `json:"by_unit"`  // difference of the units' means (Welch)
	ByThumb Estimate `json:"by_thumb"` // ratio of sums, standard error by the delta method
	// PerAssigned is the difference of the liked shares: whoever does not answer counts,
	// so that an arm cannot gain by silencing those who dislike it.
	PerAssigned Estimate `json:"per_assigned"`
	Adjusted    Estimate `json:"adjusted"` // by_unit, less what the control's score explains (CUPED)
	Reduced     Number   `json:"variance_reduced"`
	Note        string   `json:"note,omitempty"`
}

// Estimate is a figure with its interval and its p-value for 0.
type Estimate struct {
	Value Number `json:"value"`
	Low   Number `json:"low"`
	High  Number `json:"high"`
	P     Number `json:"p"`
}

func noEstimate() Estimate { return Estimate{unknown(), unknown(), unknown(), unknown()} }

func estimateOf(e stats.Effect) Estimate {
	return Estimate{Number(e.Difference), Number(e.Low), Number(e.High), Number(e.Test.P)}
}

// userOutcomes compares the arms' units. The covariate is the control's score for
// everybody: it is known for every unit, and no assignment changes it, which the
// score of "the other arm" would not be.
func (s *State) userOutcomes(units []outcome, assigned []int, confidence float64) UserOutcomes {
	means := make([][]float64, len(s.e.Arms))
	ratios := make([][]stats.Ratio, len(s.e.Arms))
	adjusted := make([][]stats.Unit, len(s.e.Arms))
	thumbs := make([]int, len(s.e.Arms))
	likes := make([]int, len(s.e.Arms))
	for _, u := range units {
		mean := u.mean()
		if mean > 0.5 {
			likes[u.arm]++
		}
		n := float64(len(u.thumbs))
		means[u.arm] = append(means[u.arm], mean)
		ratios[u.arm] = append(ratios[u.arm], stats.Ratio{Numerator: mean * n, Denominator: n})
		thumbs[u.arm] += len(u.thumbs)
		if control, err := stats.MomentsOf(u.control); err == nil && control.N() > 0 {
			adjusted[u.arm] = append(adjusted[u.arm], stats.Unit{Outcome: mean, Covariate: control.Mean()})
		}
	}
	liked := make([][]float64, len(s.e.Arms)) // of every assigned unit
	for i, n := range likes {
		liked[i] = slices.Concat(slices.Repeat([]float64{1}, n), make([]float64, assigned[i]-n))
	}
	var r UserOutcomes
	for i, a := range s.e.Arms {
		arm := UserArm{Arm: string(a.ID), Units: len(means[i]), Thumbs: thumbs[i], Share: unknown(), Assigned: assigned[i],
			LikedShare: unknown()}
		if m, err := stats.MomentsOf(means[i]); err == nil && m.N() > 0 {
			arm.Share = Number(m.Mean())
		}
		if m, err := stats.MomentsOf(liked[i]); err == nil && m.N() > 0 {
			arm.LikedShare = Number(m.Mean())
		}
		r.Arms = append(r.Arms, arm)
	}
	for _, arm := range s.treatments() {
		d := UserDifference{
			Arm: string(s.e.Arms[arm].ID), ByUnit: noEstimate(), ByThumb: noEstimate(),
			PerAssigned: noEstimate(), Adjusted: noEstimate(), Reduced: unknown(),
		}
		if e, err := stats.DifferenceOfMeans(means[s.control], means[arm], confidence); err == nil {
			d.ByUnit = estimateOf(e)
		} else {
			d.Note = err.Error()
		}
		if e, err := stats.DifferenceOfMeans(liked[s.control], liked[arm], confidence); err == nil {
			d.PerAssigned = estimateOf(e)
		}
		if e, err := stats.RatioOfMeans(ratios[s.control], ratios[arm], confidence); err == nil {
			d.ByThumb = estimateOf(e)
		}
		if e, err := stats.CUPED(adjusted[s.control], adjusted[arm], confidence); err == nil {
			d.Adjusted, d.Reduced = estimateOf(e.Effect), Number(e.VarianceReduction)
		}
		r.Treatments = append(r.Treatments, d)
	}
	return r
}
