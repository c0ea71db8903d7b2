package engine

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
)

// reading is what has been read of the records of one phase.
type reading struct {
	mu       sync.Mutex
	revision int64     // of the experiment that state knows
	created  time.Time // a draft's id may be used again once it is deleted
	state    *analysis.State

	replays    sync.Mutex
	replayedAt replayedAt
	replayed   analysis.Replayed
}

// replayedAt is the part of the log that a decision was computed again from.
type replayedAt struct {
	exposures, feedback, revision int64
	created                       time.Time
}

// Conclusion is what the records say now.
type Conclusion struct {
	Experiment experiment.Experiment
	Decision   analysis.Decision
	Promotions []analysis.Promotion // those that are ready first
	Log        analysis.Log
}

// Conclude reads what has come since the last time and decides. The numbers are
// computed again from the whole log before an arm is called ready.
func (e *Engine) Conclude(ctx context.Context, id experiment.ID) (Conclusion, error) {
	c, _, err := e.read(ctx, id)
	return c, err
}

// read is Conclude, with the state that was read.
func (e *Engine) read(ctx context.Context, id experiment.ID) (Conclusion, *analysis.State, error) {
	x, err := e.Store.Get(ctx, id)
	if err != nil {
		return Conclusion{}, nil, err
	}
	r := e.readingOf(id)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.read(ctx, e.Store, x); err != nil {
		return Conclusion{}, nil, err
	}
	c := Conclusion{Experiment: x, Decision: r.state.Decide(), Log: r.state.Log()}
	now, err := e.instant(ctx)
	if err != nil {
		return c, r.state, err
	}
	checks := analysis.Checks{Guards: e.Guards(id), Replay: &analysis.Replayed{Equal: true}}
	c.Promotions = analysis.Promote(x, c.Decision, now.Earliest, checks)
	if len(c.Promotions) == 0 || !c.Promotions[0].Ready {
		return c, r.state, nil
	}
	replayed, err := r.replay(ctx, e.Store, c)
	if err != nil {
		return c, r.state, err
	}
	checks.Replay = &replayed
	c.Promotions = analysis.Promote(x, c.Decision, now.Earliest, checks)
	return c, r.state, nil
}

// read brings the reading up to the store. The caller holds its lock.
func (r *reading) read(ctx context.Context, store experiment.Store, x experiment.Experiment) error {
	if r.state == nil || !r.created.Equal(x.Created) || r.revision != x.Revision && !r.state.Update(x) {
		var err error
		if r.state, err = analysis.New(x, analysis.DefaultLimits()); err != nil {
			return err
		}
	}
	r.revision, r.created = x.Revision, x.Created
	return r.state.Read(ctx, store)
}

// stateOf is what the records of an experiment's phase say now.
func (e *Engine) stateOf(ctx context.Context, x experiment.Experiment) (*analysis.State, error) {
	r := e.readingOf(x.ID)
	r.mu.Lock()
	defer r.mu.Unlock()
	err := r.read(ctx, e.Store, x)
	return r.state, err
}

func (e *Engine) readingOf(id experiment.ID) *reading {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := e.readings[id]
	if r == nil {
		r = &reading{}
		e.readings[id] = r
	}
	return r
}

// Ready returns the arm that may be promoted, and false where there is none.
func (c Conclusion) Ready() (experiment.ArmID, bool) {
	if len(c.Promotions) == 0 || !c.Promotions[0].Ready {
		return "", false
	}
	return c.Promotions[0].Arm, true
}

// Missing says everything that stands between an arm and its promotion; nothing
// where the rule is met.
func (c Conclusion) Missing(arm experiment.ArmID) []string {
	for _, p := range c.Promotions {
		if p.Arm == arm {
			return p.Missing
		}
	}
	return []string{"The arm is not compared with the control."}
}

// Numbers are what a decision about an arm rests on, for the audit record.
func (c Conclusion) Numbers(arm experiment.ArmID) map[string]string {
	d := c.Decision
	out := map[string]string{
		"exposures": strconv.Itoa(d.Counts.Exposures), "images labelled blind": strconv.Itoa(d.Counts.LabelledBlind),
		"pairs blind": strconv.Itoa(d.Counts.PairsBlind), "raters blind": strconv.Itoa(d.Counts.RatersBlind),
		"srm p": number(float64(d.SRM.AnytimeP)), "phase": strconv.Itoa(d.Phase),
		"exposures offset": strconv.FormatInt(c.Log.Exposures, 10), "feedback offset": strconv.FormatInt(c.Log.Feedback, 10),
	}
	for _, b := range d.Blind {
		if b.Arm == arm {
			out["effect"], out["low"], out["high"] = number(float64(b.Effect)), number(float64(b.Agreed.Low)),
				number(float64(b.Agreed.High))
		}
	}
	return out
}

// numbers are those of a decision that a person takes; without them where the
// records cannot be read.
func (e *Engine) numbers(ctx context.Context, x experiment.Experiment, arm experiment.ArmID) map[string]string {
	c, err := e.Conclude(ctx, x.ID)
	if err != nil {
		return map[string]string{"numbers": "none: " + err.Error()}
	}
	out := c.Numbers(arm)
	if arm == "" {
		return out
	}
	missing := c.Missing(arm)
	out["rule met"] = strconv.FormatBool(len(missing) == 0)
	if len(missing) > 0 {
		out["missing"] = strings.Join(missing, " ")
	}
	return out
}

// Decide ends what is older than its max_duration, running or not, and looks at the
// records of every running experiment: it widens ramps, and recommends or promotes.
func (e *Engine) Decide(ctx context.Context) {
	now, err := e.instant(ctx)
	if err != nil {
		e.telemetry.storeFailed(ctx, "clock")
		return
	}
	for _, x := range e.current.Load().all {
		if (x.State == experiment.Running || x.State == experiment.Paused) && now.Since(x.Started) > x.MaxDuration {
			e.logUndecided(ctx, x, e.expire(ctx, x))
		}
	}
	for _, l := range e.current.Load().running {
		e.logUndecided(ctx, l.Experiment, e.decide(ctx, l))
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	maps.DeleteFunc(e.readings, func(id experiment.ID, _ *reading) bool { return e.watches[id] == nil })
}

func (e *Engine) logUndecided(ctx context.Context, x experiment.Experiment, err error) {
	if err != nil && ctx.Err() == nil {
		e.Logger.InfoContext(ctx, "deciding an experiment failed", "experiment", string(x.ID), "error", err)
	}
}

// expire stops an experiment whose time is over. A pause counts: it would end nothing
// that is forgotten otherwise.
func (e *Engine) expire(ctx context.Context, x experiment.Experiment) error {
	_, err := e.change(ctx, x, experiment.Change{Do: experiment.DoStop, By: "server", Detail: "max_duration is over",
		Numbers: e.numbers(ctx, x, "")})
	return err
}

func (e *Engine) decide(ctx context.Context, l *live) error {
	if l.Auto != experiment.AutoOff {
		c, err := e.Conclude(ctx, l.ID)
		if err != nil {
			return err
		}
		if arm, ok := c.Ready(); ok && c.Experiment.Revision == l.Revision {
			return e.conclude(ctx, c, arm)
		}
	}
	return e.widen(ctx, l)
}

// conclude does of itself what the experiment says. Of several servers one is
// first, and the others meet a conflict.
func (e *Engine) conclude(ctx context.Context, c Conclusion, arm experiment.ArmID) error {
	acts := c.Experiment.Auto == experiment.AutoAct
	if acts {
		// Whoever revoked every key that may label wants nothing decided by what it sent.
		var err error
		if acts, err = e.canLabel(ctx); err != nil {
			return err
		}
	}
	if acts {
		_, err := e.promote(ctx, c.Experiment, arm, experiment.Change{By: "server", Numbers: c.Numbers(arm)})
		return err
	}
	if c.Experiment.Recommended == arm {
		return nil
	}
	_, err := e.change(ctx, c.Experiment, experiment.Change{
		Do: experiment.DoRecommend, Winner: arm, By: "server", Detail: "the rule of promotion is met by " +
			string(arm), Numbers: c.Numbers(arm),
	})
	return err
}

// widen takes the next step of an experiment's own ramp. What the step has seen
// is counted on this server; the first to have seen enough widens.
func (e *Engine) widen(ctx context.Context, l *live) error {
	for _, g := range e.guards(l) {
		if !g.OK && g.Action != experiment.ActWarn {
			return nil
		}
	}
	w := e.watchOf(l)
	w.mu.Lock()
	units, since := w.seen()-w.unitsAt, e.Now().Sub(w.stepped)
	w.mu.Unlock()
	coverage, ok := l.NextRamp(since, units)
	if !ok {
		return nil
	}
	_, err := e.change(ctx, l.Experiment, experiment.Change{
		Do: experiment.DoRamp, By: "server", Coverage: coverage, Step: true, Detail: "the step's conditions hold",
		Numbers: map[string]string{"units": strconv.Itoa(units), "since": since.String()},
	})
	return err
}

// Report is the whole analysis of a phase, 0 being the present one: seconds of work
// for thousands of labels, on half of the processors, since images are scored
// meanwhile. One is computed at a time; whoever asks for another one waits, and ctx
// bounds that too. not_found where there is no such phase.
func (e *Engine) Report(ctx context.Context, id experiment.ID, phase int) (analysis.Report, error) {
	select {
	case e.reports <- struct{}{}:
		defer func() { <-e.reports }()
	case <-ctx.Done():
		return analysis.Report{}, context.Cause(ctx)
	}
	o := analysis.DefaultOptions()
	o.Agreements = e.agreements
	o.Bootstrap.Workers = max(1, o.Bootstrap.Workers/2)
	x, err := e.Store.Get(ctx, id)
	if err != nil {
		return analysis.Report{}, err
	}
	then, err := x.AtPhase(phase)
	if err != nil {
		return analysis.Report{}, err
	}
	now, err := e.instant(ctx)
	if err != nil {
		return analysis.Report{}, err
	}
	if then.Phase != x.Phase {
		state, err := analysis.ReadAt(ctx, e.Store, then, analysis.Log{}, analysis.DefaultLimits())
		if err != nil {
			return analysis.Report{}, err
		}
		o.Checks = analysis.Checks{Present: x.Phase, Replay: &analysis.Replayed{Equal: true, Log: state.Log()}}
		return analysis.Analyse(ctx, state, now.Earliest, o)
	}
	c, state, err := e.read(ctx, id)
	if err != nil {
		return analysis.Report{}, err
	}
	o.Checks.Guards = e.Guards(id)
	replayed, err := e.readingOf(id).replay(ctx, e.Store, c)
	if err != nil {
		return analysis.Report{}, err
	}
	o.Checks.Replay = &replayed
	return analysis.Analyse(ctx, state, now.Earliest, o)
}

// replay computes a decision again from the log, once for each place of the log and
// revision of the experiment.
func (r *reading) replay(ctx context.Context, store experiment.Store, c Conclusion) (analysis.Replayed, error) {
	at := replayedAt{c.Log.Exposures, c.Log.Feedback, c.Experiment.Revision, c.Experiment.Created}
	r.replays.Lock()
	known, value := r.replayedAt == at, r.replayed
	r.replays.Unlock()
	if known {
		return value, nil
	}
	value, err := analysis.ReplayDecision(ctx, store, c.Experiment, c.Decision, c.Log, analysis.DefaultLimits())
	if err != nil {
		return value, err
	}
	r.replays.Lock()
	defer r.replays.Unlock()
	r.replayedAt, r.replayed = at, value
	return value, nil
}
