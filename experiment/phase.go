package experiment

import (
	"slices"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// PastPhase is how units were split in a phase that has ended, at its end. What arms
// say of images doesn't depend on it: labels count in every phase from theirs on.
type PastPhase struct {
	Phase    int        `json:"phase"`
	Ended    time.Time  `json:"ended"`
	Coverage PPM        `json:"coverage_ppm"`
	Arms     []ArmShare `json:"arms" nullable:"false"`
	Slots    []Slot     `json:"slots" nullable:"false"`
}

// ArmShare is an arm's part of a split.
type ArmShare struct {
	ID     ArmID `json:"id"`
	Weight PPM   `json:"weight_ppm"`
	Out    bool  `json:"out,omitempty"` // a guardrail took it out
}

// maxPhases bounds an experiment's record.
const maxPhases = 50

// present is the split of this moment.
func (e Experiment) present(now time.Time) PastPhase {
	p := PastPhase{Phase: e.Phase, Ended: now, Coverage: e.Coverage, Slots: e.Slots}
	for _, a := range e.Arms {
		p.Arms = append(p.Arms, ArmShare{a.ID, a.Weight, a.Out})
	}
	return p
}

// begin begins another phase after one that was like before.
func (e *Experiment) begin(before PastPhase) {
	e.Past = append(e.Past[:len(e.Past):len(e.Past)], before)
	e.Phase++
}

// checkPhases is a conflict where no person may begin another phase. A guardrail may.
func (e Experiment) checkPhases() error {
	if e.Phase < maxPhases {
		return nil
	}
	return quality.Errorf(quality.KindConflict,
		"experiment %s has had %d phases, which is the limit; create another experiment", e.ID, e.Phase)
}

// AtPhase is the experiment as it was in one of its phases, at its end; 0: the present
// one. not_found where there is none, or nothing is known of its split.
func (e Experiment) AtPhase(phase int) (Experiment, error) {
	if phase == 0 || phase == e.Phase {
		return e, nil
	}
	if phase < 0 || phase > e.Phase {
		return e, quality.Errorf(quality.KindNotFound, "experiment %s has no phase %d; the present one is %d", e.ID, phase,
			e.Phase)
	}
	for i, p := range e.Past {
		if p.Phase != phase {
			continue
		}
		e.Phase, e.Past, e.Coverage, e.Slots = phase, e.Past[:i], p.Coverage, p.Slots
		arms := make([]Arm, len(e.Arms))
		for k, a := range e.Arms {
			a.Weight, a.Out = p.Arms[k].Weight, p.Arms[k].Out // arms are neither added nor moved
			arms[k] = a
		}
		e.Arms = arms
		return e, nil
	}
	return e, quality.Errorf(quality.KindNotFound,
		"phase %d of experiment %s ended under a version that kept no record of it", phase, e.ID)
}

// Unrecorded lists the phases before the present one of whose split nothing is known:
// they ended under a version that kept no record of it.
func (e Experiment) Unrecorded() []int {
	var unknown []int
	for phase := 1; phase < e.Phase; phase++ {
		if !slices.ContainsFunc(e.Past, func(p PastPhase) bool { return p.Phase == phase }) {
			unknown = append(unknown, phase)
		}
	}
	return unknown
}

// Moved reports whether a bucket that is arm's now was another arm's in an earlier
// phase: its units know two arms.
func (e Experiment) Moved(bucket PPM, arm ArmID) bool {
	for _, p := range e.Past {
		if had, covered := armAt(p.Slots, p.Coverage, bucket); covered && had != arm {
			return true
		}
	}
	return false
}

// Stayed reports whether a bucket was arm's in every phase up to the present one.
// Which units these are follows from their buckets alone, not from what they did, and
// each arm has had its own for as long as the others: they may be compared over all
// phases together.
func (e Experiment) Stayed(bucket PPM, arm ArmID) bool {
	if e.Phase != len(e.Past)+1 { // of a phase nothing is known
		return false
	}
	for _, p := range e.Past {
		if had, covered := armAt(p.Slots, p.Coverage, bucket); !covered || had != arm {
			return false
		}
	}
	now, covered := e.ArmAt(bucket)
	return covered && now == arm
}
