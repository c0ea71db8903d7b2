package experiment

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// Do is something that can be done to an experiment.
type Do string

// What can be done.
const (
	DoCreate    Do = "create"
	DoEdit      Do = "edit"    // another definition
	DoArchive   Do = "archive" // put away
	DoRestore   Do = "restore" // take out of the archive
	DoDelete    Do = "delete"
	DoStart     Do = "start"
	DoPause     Do = "pause"
	DoResume    Do = "resume"
	DoRamp      Do = "ramp"      // another coverage; a smaller one: a new phase
	DoWeigh     Do = "weigh"     // other weights: a new phase
	DoHold      Do = "hold"      // why neither ramp nor promotion may happen
	DoGuard     Do = "guardrail" // arms are taken out
	DoStop      Do = "stop"
	DoPromote   Do = "promote"
	DoRollback  Do = "rollback"
	DoRecommend Do = "recommend" // a decision was reached; a person is asked
)

// from lists the states in which something may be done, and to where it leads;
// "" leaves the state alone.
var machine = map[Do]struct {
	from []State
	to   State
}{
	DoEdit:      {[]State{Draft}, ""},
	DoArchive:   {[]State{Draft, Stopped, Promoted, RolledBack}, ""},
	DoRestore:   {[]State{Draft, Stopped, Promoted, RolledBack}, ""},
	DoDelete:    {[]State{Draft}, ""},
	DoStart:     {[]State{Draft}, Running},
	DoPause:     {[]State{Running}, Paused},
	DoResume:    {[]State{Paused}, Running},
	DoRamp:      {[]State{Draft, Running, Paused}, ""},
	DoWeigh:     {[]State{Draft, Running, Paused}, ""},
	DoHold:      {[]State{Running, Paused}, ""},
	DoGuard:     {[]State{Running, Paused}, ""},
	DoRecommend: {[]State{Running, Paused}, ""},
	DoStop:      {[]State{Running, Paused}, Stopped},
	DoPromote:   {[]State{Running, Paused, Stopped}, Promoted},
	DoRollback:  {[]State{Running, Paused, Promoted}, RolledBack},
}

// Open reports whether an experiment has started and not ended: it holds its share
// of a namespace.
func (s State) Open() bool { return s == Running || s == Paused }

// Final reports whether nothing is recorded any more.
func (s State) Final() bool { return s == Stopped || s == Promoted || s == RolledBack }

// Change is what is to be done, by whom and why.
type Change struct {
	Do       Do
	By       string
	Detail   string
	Numbers  map[string]string
	Edited   Experiment    // DoEdit: a draft of the new definition
	Coverage PPM           // DoRamp
	Step     bool          // DoRamp: it is the next step of the experiment's own ramp
	Weights  map[ArmID]PPM // DoWeigh: of every arm that is not a shadow
	Held     []string      // DoHold
	Out      []ArmID       // DoGuard
	Winner   ArmID         // DoPromote, DoRecommend
	Forced   string        // DoPromote: why, where the rule of promotion is not asked; at most maxReason bytes
}

// Force lets a person promote what the rule of promotion does not.
type Force struct {
	On     bool
	Reason string // for the audit record; needed
}

const maxReason = 1000 // bytes

// Validate returns an *[Invalid] for a force without a reason, and for a reason
// without force.
func (f Force) Validate() error {
	text := ""
	switch {
	case f.On && strings.TrimSpace(f.Reason) == "":
		text = "is needed with force"
	case !f.On && f.Reason != "":
		text = "is for a promotion with force"
	case len(f.Reason) > maxReason:
		text = fmt.Sprintf("has %d bytes, at most %d are kept", len(f.Reason), maxReason)
	default:
		return nil
	}
	return &Invalid{Faults: []Fault{{Field: "reason", Message: text}}}
}

// NotReady is an arm that does not meet the rule of promotion.
type NotReady struct {
	Experiment ID
	Arm        ArmID
	Missing    []string // every reason, a sentence each
}

func (e *NotReady) Error() string {
	return fmt.Sprintf("arm %s of experiment %s does not meet the rule of promotion: %s",
		e.Arm, e.Experiment, strings.Join(e.Missing, " "))
}

// Unwrap lets [quality.KindOf] see conflict.
func (e *NotReady) Unwrap() error {
	return quality.Errorf(quality.KindConflict,
		"arm %s does not meet the rule of promotion; force, with a reason, overrules it", e.Arm)
}

// Apply returns the experiment after a change, with its audit record. It
// changes nothing itself: the caller swaps the result for e in the store, which
// refuses if somebody was faster. Errors: conflict where the state does not
// allow it, experiment_invalid.
func Apply(e Experiment, c Change, now time.Time) (Experiment, Audit, error) {
	rule, ok := machine[c.Do]
	if !ok || !slices.Contains(rule.from, e.State) {
		return e, Audit{}, refused(e, c.Do)
	}
	if e.Archived != (c.Do == DoRestore) {
		text := "is in the archive; restore it first"
		if !e.Archived {
			text = "is not in the archive"
		}
		return e, Audit{}, quality.Errorf(quality.KindConflict, "experiment %s %s", e.ID, text)
	}
	// Without force, the rule of promotion names the hold among all that is missing.
	if c.Do == DoPromote && c.Forced != "" && len(e.Held) > 0 {
		return e, Audit{}, quality.Errorf(quality.KindConflict,
			"experiment %s is held by %s, and force doesn't overrule a hold: %s", e.ID, strings.Join(e.Held, ", "), e.LiftHold())
	}
	next := e
	next.Arms, next.Slots = slices.Clone(e.Arms), slices.Clone(e.Slots)
	next.Held = slices.Clone(e.Held)
	if rule.to != "" {
		next.State = rule.to
	}
	if err := next.edit(c, now); err != nil {
		return e, Audit{}, err
	}
	next.Revision++
	return next, Audit{
		Time: now, Experiment: e.ID, Revision: next.Revision, Action: string(c.Do), By: c.By,
		From: e.State, To: next.State, Detail: c.Detail, Numbers: c.Numbers,
	}, nil
}

// refused says why something can't be done in the present state.
func refused(e Experiment, do Do) error {
	hint := ""
	switch {
	case do == DoEdit && e.State.Open():
		hint = "; only drafts are edited: change coverage or weights with ramp, or clone it"
	case do == DoEdit:
		hint = "; only drafts are edited: clone it"
	case do == DoDelete && e.State.Final():
		hint = "; only drafts are deleted, since its records belong to it: archive it"
	case (do == DoDelete || do == DoArchive) && e.State.Open():
		hint = "; stop it first"
	}
	return quality.Errorf(quality.KindConflict, "experiment %s is %s; it can't %s%s", e.ID, e.State, do, hint)
}

// Created is the audit record of a new experiment.
func Created(e Experiment, by string, now time.Time) Audit {
	return Audit{Time: now, Experiment: e.ID, Revision: e.Revision, Action: string(DoCreate),
		By: by, From: "", To: e.State}
}

func (e *Experiment) edit(c Change, now time.Time) error {
	switch c.Do {
	case DoEdit:
		return e.redefine(c.Edited)
	case DoArchive, DoRestore:
		e.Archived = c.Do == DoArchive
	case DoStart:
		e.Started = now
	case DoResume:
		e.Held = nil // whoever resumes has looked
	case DoStop, DoRollback:
		if e.Ended.IsZero() {
			e.Ended = now
		}
	case DoRecommend:
		e.Recommended = c.Winner
	case DoPromote:
		e.Forced = c.Forced
		return e.promote(c.Winner, now)
	case DoRamp:
		return e.ramp(c, now)
	case DoWeigh:
		return e.weigh(c, now)
	case DoHold:
		e.Held = slices.Clone(c.Held)
	case DoGuard:
		return e.takeOut(c.Out, now)
	}
	return nil
}

// LiftHold says how the hold of an experiment is lifted.
func (e Experiment) LiftHold() string {
	if e.State.Final() {
		return "it has ended, so the hold stays. To use the checkpoint all the same, activate it"
	}
	return "find the cause, then lift the hold with pause and resume"
}

// redefine puts another definition in the place of a draft's.
func (e *Experiment) redefine(to Experiment) error {
	if to.ID != e.ID {
		return &Invalid{Faults: []Fault{{Field: "id", Message: fmt.Sprintf("is %s, but the experiment is %s: a draft "+
			"keeps its id; clone it to have another", to.ID, e.ID)}}}
	}
	to.Created, to.Revision = e.Created, e.Revision
	*e = to
	return nil
}

// Clone returns a draft of what the experiment is now, under another id. It draws
// its own salt, so that its units fall elsewhere, and begins its ramp anew. An arm
// that a guardrail took out is back, without weight.
func (e Experiment) Clone(as ID) Experiment {
	c := Experiment{
		ID: as, Name: e.Name, Owner: e.Owner, Hypothesis: e.Hypothesis, State: Draft, Phase: 1, Revision: 1,
		Primary: e.Primary, MDE: e.MDE, Alpha: e.Alpha, Margin: e.Margin, Horizon: e.Horizon,
		Arms: slices.Clone(e.Arms), Unit: e.Unit, Header: e.Header, Fallback: e.Fallback, Namespace: e.Namespace,
		Coverage: e.Coverage, Salt: newSalt(), HashVersion: HashVersion, Audience: e.Audience,
		Ramp: slices.Clone(e.Ramp), BlindOnly: e.BlindOnly, LabelsAnswerTasks: true,
		MinLabels: e.MinLabels, MinRaters: e.MinRaters, MinDuration: e.MinDuration, MaxDuration: e.MaxDuration,
		Guardrails: slices.Clone(e.Guardrails), Auto: e.Auto,
	}
	if e.Name == string(e.ID) {
		c.Name = string(as)
	}
	if len(c.Ramp) > 0 {
		c.Coverage = c.Ramp[0].Coverage
	}
	for i := range c.Arms {
		c.Arms[i].Out = false
	}
	c.Slots = Allot(nil, c.Arms)
	return c
}

func (e *Experiment) promote(winner ArmID, now time.Time) error {
	a, ok := e.Arm(winner)
	switch {
	case !ok:
		return quality.Errorf(quality.KindNotFound, "experiment %s has no arm %.64q", e.ID, string(winner))
	case a.Out:
		return quality.Errorf(quality.KindConflict, "arm %s was removed by a guardrail and can't be promoted", a.ID)
	case e.IsControl(a):
		return quality.Errorf(quality.KindConflict, "%s: arm %s can't be promoted", e.AA(), a.ID)
	}
	e.Winner = winner
	if e.Ended.IsZero() {
		e.Ended = now
	}
	return nil
}

func (e *Experiment) ramp(c Change, now time.Time) error {
	if c.Coverage < 0 || c.Coverage > Whole {
		return &Invalid{Faults: []Fault{{Field: "coverage",
			Message: fmt.Sprintf("is %d, must be between 0 and %d", c.Coverage, Whole)}}}
	}
	// A coverage that shrinks lets units go, which then see another score: the
	// records of before and after are not of one kind.
	if c.Coverage < e.Coverage && e.State != Draft {
		if err := e.checkPhases(); err != nil {
			return err
		}
		e.begin(e.present(now))
	}
	e.Coverage = c.Coverage
	if c.Step {
		e.RampStep++
	}
	return nil
}

func (e *Experiment) weigh(c Change, now time.Time) error {
	before := e.present(now)
	for i := range e.Arms {
		if w, named := c.Weights[e.Arms[i].ID]; named {
			e.Arms[i].Weight = w
		}
	}
	for id := range c.Weights {
		if !slices.ContainsFunc(e.Arms, func(a Arm) bool { return a.ID == id }) {
			return &Invalid{Faults: []Fault{{Field: "weights", Message: "there is no arm " + string(id)}}}
		}
	}
	if err := e.Validate(); err != nil {
		return err
	}
	for _, a := range e.Arms {
		if a.Out && a.Weight > 0 {
			return quality.Errorf(quality.KindConflict,
				"arm %s was removed by a guardrail; start another experiment to try it again", a.ID)
		}
	}
	e.Slots = Allot(e.Slots, e.Arms)
	if e.State != Draft {
		if err := e.checkPhases(); err != nil {
			return err
		}
		e.begin(before)
	}
	return nil
}

// takeOut gives the weight of arms to the control and marks them. It is a new
// phase: units of theirs see another score from now on.
func (e *Experiment) takeOut(out []ArmID, now time.Time) error {
	before := e.present(now)
	control, ok := e.Control()
	if !ok || slices.Contains(out, control.ID) {
		return quality.Errorf(quality.KindConflict, "experiment %s: the control arm can't be removed", e.ID)
	}
	var freed PPM
	taken := false
	for i := range e.Arms {
		if a := &e.Arms[i]; slices.Contains(out, a.ID) && !a.Out {
			freed, a.Weight, a.Out, taken = freed+a.Weight, 0, true, true
		}
	}
	if !taken {
		return quality.Errorf(quality.KindConflict, "experiment %s: these arms are already removed", e.ID)
	}
	for i := range e.Arms {
		if e.Arms[i].ID == control.ID {
			e.Arms[i].Weight += freed
		}
	}
	e.Slots = Allot(e.Slots, e.Arms)
	e.begin(before)
	return nil
}

// NextRamp returns the coverage of the next step of the experiment's own ramp
// if its conditions hold: since is how long the present step has lasted, units
// how many were seen in it. Where somebody widened further, it stays: a ramp
// never lets units go.
func (e Experiment) NextRamp(since time.Duration, units int) (PPM, bool) {
	if e.State != Running || len(e.Held) > 0 || e.RampStep+1 >= len(e.Ramp) {
		return 0, false
	}
	if present := e.Ramp[e.RampStep]; since < present.MinTime || units < present.MinUnits {
		return 0, false
	}
	return max(e.Coverage, e.Ramp[e.RampStep+1].Coverage), true
}
