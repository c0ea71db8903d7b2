package analysis

import (
	"fmt"
	"slices"

	"github.com/agiqa/agiqa/experiment/stats"
)

const (
	unstable   = 1e-3 // scores of one image and arm farther apart than this are said
	mostRaters = 100  // are listed
)

// quality collects what speaks against the data.
func (s *State) quality(l views, d Decision, images []*image) Quality {
	v := l.all
	lost := v.lost()
	q := Quality{
		AA: true, MissingScores: v.missing, Unstable: make([]int, len(s.e.Arms)),
		Superseded: lost.superseded, Contradictory: lost.contradicted, Late: lost.late + s.late,
		OddValues: s.odd, OtherEncoder: s.foreign,
	}
	_, thumbOrphans, thumbsAgain := s.outcomes()
	q.Orphans, q.Superseded = lost.orphans+thumbOrphans, q.Superseded+thumbsAgain
	for _, a := range s.e.Arms {
		q.AA = q.AA && a.Digest == s.e.Arms[0].Digest
	}
	if q.AANote = s.e.AA(); q.AANote != "" {
		q.AANote += ". A difference is the sign of a fault."
	}
	for _, i := range v.images {
		for _, r := range i.ratings {
			if !r.blind {
				q.NotBlind++
			}
		}
	}
	for _, i := range images {
		for arm, said := range i.scores {
			if said.any && said.high-said.low > unstable {
				q.Unstable[arm]++
			}
		}
	}
	s.screen(&q, l)
	s.faults(&q, d)
	q.OK = len(q.Faults) == 0
	return q
}

// screen looks for raters who answer at random, and decides again without them:
// a second analysis, never the first.
func (s *State) screen(q *Quality, l views) {
	v := l.all
	if s.e.BlindOnly || s.e.LabelsAnswerTasks {
		v = l.blind
	}
	labels := map[string]int{}
	for _, i := range v.images {
		for _, r := range i.ratings {
			labels[r.rater]++
		}
	}
	flagged := map[string]bool{}
	for _, r := range stats.ScreenRaters(v.panel(s).Ratings) {
		name := v.raters[r.Rater]
		if r.Rejected {
			flagged[name] = true
			q.RatersFlagged++
		}
		if len(q.Raters) < mostRaters {
			q.Raters = append(q.Raters, Rater{Rater: name, Labels: labels[name], Judged: r.Checked, Far: r.Above +
				r.Below, Flagged: r.Rejected})
		}
	}
	if len(flagged) > 0 {
		q.WithoutFlag = s.compare(v.without(flagged), 0)
	}
}

// without leaves raters out.
func (v view) without(raters map[string]bool) view {
	w := view{basis: v.basis, missing: v.missing}
	for _, i := range v.images {
		i.ratings = slices.DeleteFunc(slices.Clone(i.ratings), func(r rating) bool { return raters[r.rater] })
		if len(i.ratings) == 0 {
			continue
		}
		var sum float64
		for _, r := range i.ratings {
			sum += r.value
		}
		i.label = sum / float64(len(i.ratings))
		w.images = append(w.images, i)
	}
	for _, p := range v.pairs {
		kept := p
		kept.winners, kept.raters = nil, nil
		for k, r := range p.raters {
			if !raters[r] {
				kept.winners, kept.raters = append(kept.winners, p.winners[k]), append(kept.raters, r)
			}
		}
		if len(kept.raters) > 0 {
			w.pairs = append(w.pairs, kept)
		}
	}
	return w
}

// faults says in words what keeps the numbers from being trusted.
func (s *State) faults(q *Quality, d Decision) {
	addFault := func(format string, args ...any) { q.Faults = append(q.Faults, fmt.Sprintf(format, args...)) }
	if d.SRM.Mismatch {
		addFault("Units did not fall to the arms as ordered: %v of arms %v (p = %.2g, anytime-valid).",
			d.SRM.Units, d.SRM.Arms, d.SRM.AnytimeP)
	}
	if n := d.Counts.Units; n > 0 && float64(d.SRM.Multiple) > 0.01*float64(n) {
		addFault("%d of %d units were seen in several arms.", d.SRM.Multiple, n)
	}
	for i, n := range q.MissingScores {
		if total := d.Counts.LabelledAll + n; n > 0 && float64(n) > 0.02*float64(total) {
			addFault("Arm %s has no score for %d labelled images: those are left out of every arm, and what is left may lean.",
				s.e.Arms[i].ID, n)
		}
	}
	for i, n := range q.Unstable {
		if n > 0 {
			addFault("Arm %s gave %d images another score when they came again: "+
				"the arm, the encoder or the preparation changed.", s.e.Arms[i].ID, n)
		}
	}
	if q.OtherEncoder > 0 {
		addFault("%d exposures are of another encoder or preparation; their scores are not used.", q.OtherEncoder)
	}
	if (s.e.BlindOnly || s.e.LabelsAnswerTasks) && q.NotBlind > 0 && q.NotBlind >= d.Counts.Labels {
		addFault("No label is blind: nothing can be decided.")
	}
	for _, c := range d.Comparisons {
		a, _ := s.e.Arm(c.Arm)
		if (q.AA || s.e.IsControl(a)) && (c.Decision == stats.Superior || c.Decision == stats.Inferior) {
			addFault("Arm %s was found to differ from the control, which is the same checkpoint (A/A): something is broken.",
				c.Arm)
		}
	}
	if s.seen.level+s.units.level+s.images.level+s.labels.level > 0 {
		addFault("There are more records than are kept; figures are of a sample at random.")
	}
}
