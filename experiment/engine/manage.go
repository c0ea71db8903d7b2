package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// number is a float64 in the shortest form that gives it back.
func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }

// Create makes a draft of a definition: what only this server knows (digests,
// encoder, preprocessing, scale) is filled in. Errors: experiment_invalid,
// encoder_mismatch, checkpoint_not_found, conflict, store_unavailable.
func (e *Engine) Create(ctx context.Context, definition []byte, by string) (experiment.Experiment, error) {
	x, err := e.define(definition)
	if err != nil {
		return x, err
	}
	return e.create(ctx, x, by, "")
}

// Edit puts another definition in the place of a draft's. revision is the one that
// the caller saw; 0: whichever. Errors: as Create, and not_found.
func (e *Engine) Edit(ctx context.Context, id experiment.ID, revision int64, definition []byte,
	by string) (experiment.Experiment, error) {
	x, err := e.at(ctx, id, revision)
	if err != nil {
		return x, err
	}
	edited, err := e.define(definition)
	if err != nil {
		return x, err
	}
	return e.change(ctx, x, experiment.Change{Do: experiment.DoEdit, By: by, Edited: edited})
}

// Clone makes a draft of what an experiment is now, under another id. Errors: as
// Create, and not_found.
func (e *Engine) Clone(ctx context.Context, id, as experiment.ID, by string) (experiment.Experiment, error) {
	x, err := e.Store.Get(ctx, id)
	if err != nil {
		return x, err
	}
	clone := x.Clone(as)
	if err := e.complete(&clone, nil); err != nil {
		return clone, err
	}
	return e.create(ctx, clone, by, "clone of "+string(id))
}

// Delete removes a draft, and returns what it was. Nothing of it is left but a line
// in the log: no request was in it. Errors: not_found, conflict where it's no
// draft any more, store_unavailable.
func (e *Engine) Delete(ctx context.Context, id experiment.ID, revision int64,
	by string) (experiment.Experiment, error) {
	x, err := e.at(ctx, id, revision)
	if err != nil {
		return x, err
	}
	if _, _, err := experiment.Apply(x, experiment.Change{Do: experiment.DoDelete, By: by}, e.Now()); err != nil {
		return x, err
	}
	if err := e.Store.Delete(ctx, id, x.Revision); err != nil {
		return x, err
	}
	e.Logger.InfoContext(ctx, "draft deleted", "experiment", string(id), "by", by, "revision", x.Revision)
	return x, e.Refresh(ctx)
}

// at reads an experiment. revision is the one that the caller saw; 0: whichever.
func (e *Engine) at(ctx context.Context, id experiment.ID, revision int64) (experiment.Experiment, error) {
	x, err := e.Store.Get(ctx, id)
	if err == nil {
		err = checkRevision(x, revision)
	}
	return x, err
}

// checkRevision refuses, as a conflict, what is meant for another revision; 0: any.
func checkRevision(x experiment.Experiment, revision int64) error {
	if revision == 0 || x.Revision == revision {
		return nil
	}
	return quality.Errorf(quality.KindConflict, "experiment %s is at revision %d; read it again", x.ID, x.Revision)
}

func (e *Engine) create(ctx context.Context, x experiment.Experiment, by,
	detail string) (experiment.Experiment, error) {
	now, err := e.instant(ctx)
	if err != nil {
		return x, err
	}
	x.Created = now.Latest.UTC()
	audit := experiment.Created(x, by, x.Created)
	audit.Detail = detail
	if err := e.Store.Create(ctx, x, audit); err != nil {
		return x, err
	}
	return x, e.Refresh(ctx)
}

// define reads a definition and completes it.
func (e *Engine) define(definition []byte) (experiment.Experiment, error) {
	x, err := experiment.Parse(definition)
	invalid, told := errors.AsType[*experiment.Invalid](err)
	switch {
	case told:
		return x, e.complete(&x, invalid.Faults)
	case err != nil:
		return x, err
	}
	return x, e.complete(&x, nil)
}

// complete fills in what only this server knows. faults are those found already:
// they are told together with those found here.
func (e *Engine) complete(x *experiment.Experiment, faults []experiment.Fault) error {
	encoders, checkpoints := make([]quality.Digest, len(x.Arms)), make([]quality.Checkpoint, len(x.Arms))
	var unknown []string
	at := map[string]string{} // the fields that name an unknown checkpoint first
	for i := range x.Arms {
		name := x.Arms[i].Checkpoint
		if !quality.ValidCheckpointName(name) {
			continue // a fault already
		}
		c, err := e.Checkpoints.Resolve(name)
		if quality.KindOf(err) == quality.KindCheckpointNotFound {
			if !slices.Contains(unknown, name) {
				unknown = append(unknown, name)
				at[name] = fmt.Sprintf("arms[%d].checkpoint", i)
			}
			continue
		}
		if err != nil {
			return err
		}
		x.Arms[i].Digest, encoders[i], checkpoints[i] = c.Digest, c.Encoder, c
	}
	if len(unknown) > 0 {
		missing := quality.NoCheckpoint(unknown, e.Checkpoints.Names())
		if len(faults) == 0 {
			return missing
		}
		faults = append(faults, experiment.Fault{Field: at[unknown[0]], Message: missing.Detail})
	}
	if len(faults) > 0 {
		return &experiment.Invalid{Faults: faults}
	}
	control := checkpoints[0]
	for i, a := range x.Arms {
		if a.Role == experiment.Control {
			control = checkpoints[i]
		}
	}
	if err := checkTasks(checkpoints); err != nil {
		return err
	}
	scale := checkpoints[0].Score
	for _, c := range checkpoints {
		if c.Score.Min != scale.Min || c.Score.Max != scale.Max {
			return &experiment.Invalid{Faults: []experiment.Fault{{Field: "arms", Message: "checkpoints score on " +
				"different scales"}}}
		}
	}
	x.Encoder = checkpoints[0].Encoder
	// That of the control. Where another arm's checkpoint names another recipe, its
	// digest tells.
	x.Preprocess = e.Checkpoints.Preprocess(control)
	x.ScoreMin, x.ScoreMax = scale.Min, scale.Max
	if err := x.CheckEncoders(encoders); err != nil {
		return err
	}
	return x.Validate() // digests make the same checkpoint twice visible
}

// checkTasks reports, as a conflict, checkpoints of different tasks: their
// scores aren't alternatives. A task is part of a digest, so arms that had one
// task when they were drafted keep it.
func checkTasks(checkpoints []quality.Checkpoint) error {
	for _, c := range checkpoints {
		if first := checkpoints[0]; c.Task != first.Task {
			return quality.Errorf(quality.KindConflict,
				"checkpoint %s scores %s and %s scores %s: arms of an experiment score the same task",
				first.Name, first.Task, c.Name, c.Task)
		}
	}
	return nil
}

// Start lets a draft take requests, once its canaries are sound. It is written only if
// the other experiments are still those that it was held against: of two that are
// started at the same moment the second one meets the first.
func (e *Engine) Start(ctx context.Context, id experiment.ID, by string) (experiment.Experiment, error) {
	attempt := starting{draws: e.newDraws(), by: by}
	for {
		x, err := e.start(ctx, id, &attempt)
		if !errors.Is(err, experiment.ErrOthersChanged) {
			return x, err
		}
	}
}

// starting is what a start keeps while others are faster.
type starting struct {
	draws    draws
	by       string
	revision int64             // of the draft whose canaries are sound
	canaries map[string]string // what they said
}

func (e *Engine) start(ctx context.Context, id experiment.ID, s *starting) (experiment.Experiment, error) {
	change := experiment.Change{Do: experiment.DoStart, By: s.by, Numbers: map[string]string{}}
	x, err := e.Store.Get(ctx, id)
	if err != nil || x.State != experiment.Draft {
		if err == nil {
			_, _, err = experiment.Apply(x, change, e.Now())
		}
		return x, err
	}
	all, err := e.Store.List(ctx)
	if err != nil {
		return x, err
	}
	if err := x.CheckOthers(all); err != nil {
		return x, err
	}
	if err := e.checkAuto(ctx, x); err != nil {
		return x, err
	}
	l, err := e.resolve(x)
	if err != nil {
		return x, err
	}
	if err := s.draws.checkTraffic(x, all, &change); err != nil {
		return x, err
	}
	if e.Canaries != nil && s.revision != x.Revision {
		scores, err := e.Canaries.Score(ctx, l.checkpoints)
		if err != nil {
			return x, err
		}
		s.canaries = map[string]string{}
		if err := checkCanaries(l, scores, s.canaries); err != nil {
			return x, err
		}
		s.revision = x.Revision
	}
	maps.Copy(change.Numbers, s.canaries)
	for _, a := range x.Arms {
		change.Numbers["digest "+string(a.ID)] = a.Digest.String()
	}
	now, err := e.instant(ctx)
	if err != nil {
		return x, err
	}
	at, open := now.Latest.UTC(), map[experiment.ID]int64{}
	for _, o := range all {
		if o.ID == id || !o.State.Open() {
			continue
		}
		open[o.ID] = o.Revision
		if !o.Started.Before(at) { // the order of starts says who takes a request
			at = o.Started.Add(time.Microsecond)
		}
	}
	return e.write(ctx, x, change, at,
		func(ctx context.Context, was int64, next experiment.Experiment, audit experiment.Audit) error {
			return e.Store.SwapBeside(ctx, was, next, audit, open)
		})
}

// checkAuto refuses, as a conflict, to run an experiment that acts by itself while
// nobody can send labels that decide: whoever wants it to act must have said who
// may label.
func (e *Engine) checkAuto(ctx context.Context, x experiment.Experiment) error {
	if x.Auto != experiment.AutoAct {
		return nil
	}
	can, err := e.canLabel(ctx)
	if err == nil && !can {
		err = quality.Errorf(quality.KindConflict, "experiment %s acts by itself (auto: act), and no API key has "+
			"the scope feedback: create one for whoever labels, or set auto to recommend", x.ID)
	}
	return err
}

func (e *Engine) canLabel(ctx context.Context) (bool, error) {
	if e.Labellers == nil {
		return false, nil
	}
	return e.Labellers.CanLabel(ctx)
}

// Change does what needs no more than the state's consent: pause, resume, ramp,
// weigh, stop, hold, archive, restore. revision is the one that the caller saw; 0: whichever.
func (e *Engine) Change(ctx context.Context, id experiment.ID, revision int64,
	c experiment.Change) (experiment.Experiment, error) {
	return e.onLatest(ctx, id, func(x experiment.Experiment) (experiment.Experiment, error) {
		if err := checkRevision(x, revision); err != nil {
			return x, err
		}
		if c.Do == experiment.DoStop && x.State == experiment.Stopped {
			return x, nil // by max_duration, or by a request whose answer was lost
		}
		if c.Do == experiment.DoResume {
			if err := e.checkAuto(ctx, x); err != nil {
				return x, err
			}
		}
		return e.change(ctx, x, c)
	})
}

// mostTries bounds [Engine.onLatest].
const mostTries = 5

// onLatest does something to an experiment as it is now, again if it failed while
// somebody else changed the experiment, as the server does by itself.
func (e *Engine) onLatest(ctx context.Context, id experiment.ID,
	do func(x experiment.Experiment) (experiment.Experiment, error)) (experiment.Experiment, error) {
	for try := 1; ; try++ {
		x, err := e.Store.Get(ctx, id)
		if err != nil {
			return x, err
		}
		next, err := do(x)
		if quality.KindOf(err) != quality.KindConflict || try == mostTries {
			return next, err
		}
		if now, gone := e.Store.Get(ctx, id); gone != nil || now.Revision == x.Revision {
			return next, err
		}
	}
}

// change applies c to what was read. Somebody who was faster makes it a
// conflict.
func (e *Engine) change(ctx context.Context, x experiment.Experiment,
	c experiment.Change) (experiment.Experiment, error) {
	now, err := e.instant(ctx)
	if err != nil {
		return x, err
	}
	return e.write(ctx, x, c, now.Latest.UTC(), e.Store.Swap)
}

// write applies c and swaps the result for what was read.
func (e *Engine) write(ctx context.Context, x experiment.Experiment, c experiment.Change, at time.Time,
	swap func(context.Context, int64, experiment.Experiment, experiment.Audit) error) (experiment.Experiment, error) {
	next, audit, err := experiment.Apply(x, c, at)
	if err != nil {
		return x, err
	}
	if err := swap(ctx, x.Revision, next, audit); err != nil {
		return x, err
	}
	e.Logger.InfoContext(ctx, "experiment changed", "experiment", string(x.ID), "action", string(c.Do), "by", c.By,
		"from", string(x.State), "to", string(next.State), "revision", next.Revision, "phase", next.Phase, "detail", c.Detail)
	return next, e.Refresh(ctx)
}

// Promote makes an arm's checkpoint the default of every server of the store
// and ends the experiment. Doing it again changes nothing. Errors:
// *[experiment.NotReady] where the rule of promotion is not met and force does
// not say otherwise; *[experiment.Invalid] for a force without a reason.
func (e *Engine) Promote(
	ctx context.Context, id experiment.ID, arm experiment.ArmID, by string, force experiment.Force,
) (experiment.Experiment, error) {
	if err := force.Validate(); err != nil {
		return experiment.Experiment{}, err
	}
	return e.onLatest(ctx, id, func(x experiment.Experiment) (experiment.Experiment, error) {
		return e.promoteArm(ctx, x, arm, by, force)
	})
}

func (e *Engine) promoteArm(
	ctx context.Context, x experiment.Experiment, arm experiment.ArmID, by string, force experiment.Force,
) (experiment.Experiment, error) {
	if x.State == experiment.Promoted && x.Winner == arm {
		return e.promote(ctx, x, arm, experiment.Change{By: by})
	}
	change := experiment.Change{Do: experiment.DoPromote, Winner: arm, By: by, Forced: force.Reason}
	if _, _, err := experiment.Apply(x, change, e.Now()); err != nil {
		return x, err // whatever the records say
	}
	if force.On {
		change.Numbers = e.numbers(ctx, x, arm)
		return e.promote(ctx, x, arm, change)
	}
	c, err := e.Conclude(ctx, x.ID)
	if err != nil {
		return x, err
	}
	if missing := c.Missing(arm); len(missing) > 0 {
		return x, &experiment.NotReady{Experiment: x.ID, Arm: arm, Missing: missing}
	}
	change.Numbers = c.Numbers(arm)
	change.Numbers["rule met"] = "true"
	return e.promote(ctx, c.Experiment, arm, change)
}

// promote does what has been decided, about the experiment as it was then.
func (e *Engine) promote(
	ctx context.Context, x experiment.Experiment, arm experiment.ArmID, change experiment.Change,
) (experiment.Experiment, error) {
	a, ok := x.Arm(arm)
	if !ok {
		return x, quality.Errorf(quality.KindNotFound, "experiment %s has no arm %.64q", x.ID, string(arm))
	}
	if _, err := e.resolveArm(a); err != nil {
		return x, err
	}
	if x.State != experiment.Promoted || x.Winner != arm {
		change.Do, change.Winner, change.Detail = experiment.DoPromote, arm, "checkpoint "+a.Checkpoint
		if change.Forced != "" {
			change.Detail += ", forced: " + change.Forced
		}
		change.Numbers["digest"] = a.Digest.String()
		var err error
		if x, err = e.change(ctx, x, change); err != nil {
			return x, err
		}
	}
	return x, e.activate(ctx, x, a, change.By)
}

// Rollback ends an experiment and gives everybody its control again.
func (e *Engine) Rollback(ctx context.Context, id experiment.ID, by string) (experiment.Experiment, error) {
	return e.onLatest(ctx, id, func(x experiment.Experiment) (experiment.Experiment, error) {
		if x.State != experiment.RolledBack {
			var err error
			if x, err = e.change(ctx, x, experiment.Change{Do: experiment.DoRollback, By: by}); err != nil {
				return x, err
			}
		}
		control, _ := x.Control()
		return x, e.activate(ctx, x, control, by)
	})
}

// activate makes an arm the default here, and remembers that this server has
// followed.
func (e *Engine) activate(ctx context.Context, x experiment.Experiment, a experiment.Arm, by string) error {
	def, err := e.Checkpoints.Default()
	if err == nil && def.Digest == a.Digest {
		e.followed(x)
		return nil
	}
	if _, err := e.resolveArm(a); err != nil {
		return err
	}
	if err := e.Checkpoints.Activate(ctx, a.Checkpoint, by); err != nil {
		return err
	}
	e.followed(x)
	return nil
}

func (e *Engine) followed(x experiment.Experiment) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.applied[x.ID] = x.Revision
}

// followFor is how long after its end a promotion or a rollback is followed by a
// server that did not do it. What an operator activates later stands.
const followFor = time.Minute

// follow does here what another server of the store decided.
func (e *Engine) follow(ctx context.Context, all []experiment.Experiment, now experiment.Instant) {
	for _, x := range all {
		target, ok := x.Arm(x.Winner)
		if x.State == experiment.RolledBack {
			target, ok = x.Control()
		}
		e.mu.Lock()
		done := e.applied[x.ID] >= x.Revision
		e.mu.Unlock()
		if !ok || done || x.State != experiment.Promoted && x.State != experiment.RolledBack ||
			now.Since(x.Ended) > followFor {
			continue
		}
		if err := e.activate(ctx, x, target, "experiment "+string(x.ID)); err != nil {
			e.Logger.WarnContext(ctx, "applying the decision of another server failed", "experiment", string(x.ID), "error", err)
		}
	}
}

// Get, List and Audits read the store.
func (e *Engine) Get(ctx context.Context, id experiment.ID) (experiment.Experiment, error) {
	return e.Store.Get(ctx, id)
}

// List returns every experiment, the oldest first.
func (e *Engine) List(ctx context.Context) ([]experiment.Experiment, error) { return e.Store.List(ctx) }

// Audits returns what was done to an experiment, the oldest first.
func (e *Engine) Audits(ctx context.Context, id experiment.ID) ([]experiment.Audit, error) {
	if _, err := e.Store.Get(ctx, id); err != nil {
		return nil, err
	}
	return e.Store.Audits(ctx, id)
}

// NotServed says why a running experiment takes no requests on this server; ""
// where it does.
func (e *Engine) NotServed(id experiment.ID) string { return e.current.Load().notServed[id] }
