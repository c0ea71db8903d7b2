package analysis

import (
	"github.com/agiqa/agiqa/experiment"
)

// Uncounted is feedback that a promotion does not read, by the reason.
type Uncounted struct {
	NotBlind      int `json:"not_blind"`     // it answers no task in time
	OtherKind     int `json:"other_kind"`    // the primary measure reads another kind
	Superseded    int `json:"superseded"`    // the rater said something else later
	Contradictory int `json:"contradictory"` // the rater preferred either image of a pair
	Late          int `json:"late"`
	NoExposure    int `json:"no_exposure"`  // nothing is known of what it is about
	NoScores      int `json:"no_scores"`    // an arm has no score of what it is about
	OtherPhase    int `json:"other_phase"`  // thumbs of phases that have ended
	SeveralArms   int `json:"several_arms"` // thumbs of units that were in several arms, or saw rankings
	OddValues     int `json:"odd_values"`   // it says nothing that is known
}

// Reasons lists what there is, by the name of the reason.
func (u Uncounted) Reasons() map[string]int {
	all := map[string]int{
		"not_blind": u.NotBlind, "other_kind": u.OtherKind, "superseded": u.Superseded,
		"contradictory": u.Contradictory, "late": u.Late, "no_exposure": u.NoExposure, "no_scores": u.NoScores,
		"other_phase": u.OtherPhase, "several_arms": u.SeveralArms, "odd_values": u.OddValues,
	}
	for reason, n := range all {
		if n == 0 {
			delete(all, reason)
		}
	}
	return all
}

// Sum is how much there is.
func (u Uncounted) Sum() int {
	n := 0
	for _, of := range u.Reasons() {
		n += of
	}
	return n
}

func (u *Uncounted) add(l lost) {
	u.Superseded += l.superseded
	u.Contradictory += l.contradicted
	u.NoExposure += l.orphans
	u.Late += l.late
	u.NoScores += l.scoreless
}

// counted is how much feedback a promotion reads, and what becomes of the rest.
func (s *State) counted(l views) (n int, u Uncounted) {
	labels := records(s.labels.rows, func(l *label) int { return l.vote.records })
	pairs := records(s.pairs.rows, func(p *pair) int { return p.vote.records })
	thumbs := records(s.thumbs.rows, func(t *thumb) int { return t.vote.records })
	u = Uncounted{Late: s.late, OddValues: s.odd,
		OtherKind: labels + pairs + thumbs + records(s.choices.rows, func(c *choice) int { return c.vote.records })}
	switch s.e.Primary.Reads() {
	case experiment.Pair:
		n = l.blind.votes
		u.add(l.blind.ofPairs)
		u.OtherKind -= pairs
		u.NotBlind = pairs - n - l.blind.ofPairs.sum()
	case experiment.Thumb:
		for _, o := range l.outcomes {
			n += len(o.thumbs)
		}
		_, orphans, superseded := s.outcomes()
		for _, t := range s.thumbs.rows {
			if a := s.shown.rows[t.assignment]; t.named && a != nil && a.phase < s.e.Phase {
				u.OtherPhase += t.records
			}
		}
		u.NoExposure, u.Superseded = orphans, superseded
		u.OtherKind -= thumbs
		u.SeveralArms = thumbs - n - orphans - superseded - u.OtherPhase
	default:
		n = l.blind.labels
		u.add(l.blind.ofImages)
		u.OtherKind -= labels
		u.NotBlind = labels - n - l.blind.ofImages.sum()
	}
	return n, u
}

func records[V any](rows map[key]*V, of func(*V) int) int {
	n := 0
	for _, row := range rows {
		n += of(row)
	}
	return n
}

// labelled is how much there is of what min_labels counts, and its name.
func (d Decision) labelled() (have int, what string) {
	switch d.Primary.Reads() {
	case experiment.Pair:
		return d.Counts.PairsBlind, "pairs with blind preferences"
	case experiment.Thumb:
		return d.Counts.UnitsWithThumbs, "units with thumbs"
	}
	return d.Counts.LabelledBlind, "images with blind labels"
}

// ToGo is how many more labelled images (pairs, units: what) a comparison needs until
// the smallest effect of interest is decided. Where nothing can be said of that yet,
// estimated is false and it is what min_labels still asks for.
func (d Decision) ToGo(e experiment.Experiment, c Comparison) (n int, what string, estimated bool) {
	have, what := d.labelled()
	n = max(0, e.MinLabels-have)
	if !c.LabelsToGo.Known() {
		return n, what, false
	}
	per := 1
	if d.Primary == experiment.PrimarySRCC || d.Primary == experiment.PrimaryKRCC {
		per = blockSize
	}
	return max(n, per*int(c.LabelsToGo)), what, true
}
