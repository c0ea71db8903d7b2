package engine

import (
	"context"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/stats"
)

// defaults of each guardrail.
var guardDefaults = map[experiment.GuardrailKind]experiment.Guardrail{
	experiment.GuardErrors:     {Limit: 0.01, Action: experiment.ActRollback},
	experiment.GuardLatency:    {Limit: 1000, Action: experiment.ActHold},
	experiment.GuardDrift:      {Limit: 0.25, Action: experiment.ActHold},
	experiment.GuardSaturation: {Limit: 0.2, Action: experiment.ActRollback},
	experiment.GuardConstant:   {Limit: 1e-4, Action: experiment.ActRollback},
	experiment.GuardSRM:        {Limit: 0.001, Action: experiment.ActHold},
	experiment.GuardExposure:   {Limit: 0.01, Action: experiment.ActHold},
	experiment.GuardTraffic:    {Limit: 86_400, Action: experiment.ActHold},
	experiment.GuardStore:      {Limit: 0, Action: experiment.ActHold},
}

// guardrails are those of an experiment, every kind of them.
func guardrails(x experiment.Experiment) []experiment.Guardrail {
	var out []experiment.Guardrail
	for _, kind := range experiment.GuardrailKinds() {
		g := guardDefaults[kind]
		g.Kind = kind
		for _, own := range x.Guardrails {
			if own.Kind != kind {
				continue
			}
			if own.Limit > 0 {
				g.Limit = own.Limit
			}
			if own.Action != "" {
				g.Action = own.Action
			}
		}
		out = append(out, g)
	}
	return out
}

// Bounds of what is watched.
const (
	errorWindow = 200 // the hard cap is a share of so many judgements
	scoreWindow = 1000
	fewest      = 100 // scores before anything is said of their distribution
	mostUnits   = 200_000
	timesKept   = 1000
)

// watch is what this server has seen of one phase of an experiment.
type watch struct {
	mu       sync.Mutex
	phase    int
	arms     map[experiment.ArmID]*armWatch
	order    []experiment.ArmID // that have weight, for SRM
	srm      *stats.SequentialSRM
	units    map[string]experiment.ArmID
	ranked   map[string]bool // units that saw rankings only
	multiple int
	last     time.Time
	step     int       // of the ramp
	stepped  time.Time // when it began to be seen
	unitsAt  int       // units that were seen before it
	times    ring
	reported map[string]bool // broken guardrails that were acted on
}

type armWatch struct {
	faults    ring
	excess    *stats.Sequence // of faults over the control's, on the same image
	reference []float64
	recent    ring
}

// ring keeps the latest values.
type ring struct {
	values []float64
	size   int
	next   int
}

func (r *ring) add(v float64) {
	if len(r.values) < r.size {
		r.values = append(r.values, v)
		return
	}
	r.values[r.next] = v
	r.next = (r.next + 1) % r.size
}

func (r *ring) sum() (s float64) {
	for _, v := range r.values {
		s += v
	}
	return s
}

func newWatch(l *live, now time.Time) *watch {
	w := &watch{
		phase: l.Phase, arms: map[experiment.ArmID]*armWatch{},
		units: map[string]experiment.ArmID{}, ranked: map[string]bool{},
		last: now, step: l.RampStep, stepped: now, times: ring{size: timesKept}, reported: map[string]bool{},
	}
	var weights []float64
	for _, a := range l.active {
		excess := stats.NewSequence(stats.SequenceOptions{Alpha: 0.001, Horizon: 500, BurnIn: 50, OneSided: true})
		w.arms[a.ID] = &armWatch{faults: ring{size: errorWindow}, excess: excess, recent: ring{size: scoreWindow}}
		if a.Weight > 0 && a.Mode == experiment.Live {
			w.order, weights = append(w.order, a.ID), append(weights, float64(a.Weight))
		}
	}
	if len(weights) > 1 {
		w.srm, _ = stats.NewSequentialSRM(weights) // two weights are above 0
	}
	return w
}

// watchOf returns the watch of an experiment's phase, a new one where it has
// moved on.
func (e *Engine) watchOf(l *live) *watch {
	e.mu.Lock()
	defer e.mu.Unlock()
	w := e.watches[l.ID]
	if w == nil || w.phase < l.Phase {
		w = newWatch(l, e.Now())
		e.watches[l.ID] = w
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.step < l.RampStep {
		w.step, w.stepped, w.unitsAt = l.RampStep, e.Now(), w.seen()
	}
	return w
}

// keepWatches begins to watch what has begun and forgets what has ended.
func (e *Engine) keepWatches(s *snapshot) {
	for _, l := range s.running {
		e.watchOf(l)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for id := range e.watches {
		if !slices.ContainsFunc(s.all, func(x experiment.Experiment) bool { return x.ID == id && !x.State.Final() }) {
			delete(e.watches, id)
		}
	}
}

// observe takes the records of one request.
func (e *Engine) observe(l *live, records []experiment.Exposure) {
	w := e.watchOf(l)
	if w.phase != l.Phase {
		return // a request that began in a phase that has ended
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, r := range records {
		w.last = e.Now()
		if r.HeadMS > 0 {
			w.times.add(r.HeadMS)
		}
		w.unit(r)
		if len(r.Scores) == len(l.active) {
			w.scores(r, l.control.ID)
		}
	}
}

// seen is how many units there were.
func (w *watch) seen() int { return len(w.units) + len(w.ranked) }

// unit notes where a unit was seen. Rankings have no arm of their own: they are
// no evidence of where units fall, but a step of a ramp has seen theirs.
func (w *watch) unit(r experiment.Exposure) {
	before, seen := w.units[r.Unit]
	if r.Rank > 0 {
		if !seen && w.seen() < mostUnits {
			w.ranked[r.Unit] = true
		}
		return
	}
	if seen {
		if before != r.Shown && before != "" {
			w.multiple++
			w.units[r.Unit] = "" // counted once
		}
		return
	}
	delete(w.ranked, r.Unit)
	if w.seen() >= mostUnits {
		return
	}
	w.units[r.Unit] = r.Shown
	if i := slices.Index(w.order, r.Shown); i >= 0 && w.srm != nil {
		w.srm.Add(i)
	}
}

func (w *watch) scores(r experiment.Exposure, control experiment.ArmID) {
	reference := 0.0
	for _, s := range r.Scores {
		if s.Arm == control && s.Fault != "" {
			reference = 1
		}
	}
	for _, s := range r.Scores {
		a := w.arms[s.Arm]
		if a == nil {
			continue
		}
		fault := 0.0
		if s.Fault != "" {
			fault = 1
		}
		a.faults.add(fault)
		if s.Arm != control {
			_ = a.excess.Add(fault - reference) // finite
		}
		switch {
		case fault > 0:
		case len(a.reference) < scoreWindow:
			a.reference = append(a.reference, float64(s.Score))
		default:
			a.recent.add(float64(s.Score))
		}
	}
}

// Guards says where the guardrails of a running experiment stand here.
func (e *Engine) Guards(id experiment.ID) []analysis.Guard {
	for _, l := range e.current.Load().running {
		if l.ID == id {
			return e.guards(l)
		}
	}
	return nil
}

func (e *Engine) guards(l *live) []analysis.Guard {
	w := e.watchOf(l)
	e.mu.Lock()
	degraded := e.degraded
	e.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []analysis.Guard
	for _, g := range guardrails(l.Experiment) {
		of := func(arm experiment.ArmID, value float64, broken bool, detail string) {
			out = append(out, analysis.Guard{Kind: g.Kind, Arm: arm, Value: analysis.Number(value),
				Limit: analysis.Number(g.Limit), Action: g.Action, OK: !broken, Detail: detail})
		}
		switch g.Kind {
		case experiment.GuardErrors, experiment.GuardDrift, experiment.GuardSaturation, experiment.GuardConstant:
			for _, a := range l.active {
				value, broken, detail := w.arms[a.ID].guard(g, l, w.arms[l.control.ID])
				if a.Role == experiment.Control && broken {
					detail = "the control itself; " + detail
				}
				of(a.ID, value, broken, detail)
			}
		case experiment.GuardLatency:
			p := p99(w.times.values)
			of("", p, len(w.times.values) >= errorWindow && p > g.Limit, "")
		case experiment.GuardSRM:
			p := 1.0
			if w.srm != nil {
				p = w.srm.P()
			}
			of("", p, p < g.Limit, "anytime-valid p")
		case experiment.GuardExposure:
			share := 0.0
			if len(w.units) > 0 {
				share = float64(w.multiple) / float64(len(w.units))
			}
			of("", share, len(w.units) >= fewest && share > g.Limit, "")
		case experiment.GuardTraffic:
			quiet := e.Now().Sub(w.last).Seconds()
			of("", quiet, quiet > g.Limit, "")
		case experiment.GuardStore:
			value := 0.0
			if degraded {
				value = 1
			}
			of("", value, degraded, "")
		}
	}
	return out
}

// guard reads one guardrail of an arm.
func (a *armWatch) guard(g experiment.Guardrail, l *live,
	control *armWatch) (value float64, broken bool, detail string) {
	scores := a.latest()
	width := l.ScoreMax - l.ScoreMin
	switch g.Kind {
	case experiment.GuardErrors:
		// The cap counts against the whole window, so that an arm that fails
		// from its first judgement on is out after a few.
		failed := a.faults.sum()
		if n := len(a.faults.values); n > 0 {
			value = failed / float64(n)
		}
		if failed > g.Limit*errorWindow {
			return value, true, fmt.Sprintf("%.0f faults within %d judgements", failed, errorWindow)
		}
		if b := a.excess.Bounds(); b.Ready && b.Running.Low > 0 {
			return value, true, fmt.Sprintf("more faults than the control, by at least %.3g", b.Running.Low)
		}
	case experiment.GuardDrift:
		if len(a.recent.values) < fewest {
			return 0, false, ""
		}
		psi, err := stats.PSI(a.reference, a.recent.values)
		if err != nil || psi <= g.Limit {
			return psi, false, ""
		}
		if own, err := stats.PSI(control.reference, control.recent.values); err == nil && own > g.Limit && a != control {
			return psi, false, "the control drifts too: other images"
		}
		detail = "PSI against its first scores"
		if ks, err := stats.KolmogorovSmirnov(a.reference, a.recent.values); err == nil {
			detail += fmt.Sprintf("; KS %.3g, p %.2g", ks.Statistic, ks.P)
		}
		return psi, true, detail
	case experiment.GuardSaturation:
		if len(scores) < fewest || width <= 0 {
			return 0, false, ""
		}
		for _, s := range scores {
			if s <= l.ScoreMin+near*width || s >= l.ScoreMax-near*width {
				value++
			}
		}
		value /= float64(len(scores))
		return value, value > g.Limit, ""
	case experiment.GuardConstant:
		if len(scores) < fewest || width <= 0 {
			return math.Inf(1), false, ""
		}
		m, err := stats.MomentsOf(scores)
		if err != nil {
			return 0, false, ""
		}
		value = m.SD() / width
		// The same image over and over is no fault of an arm.
		if c, err := stats.MomentsOf(control.latest()); a != control && err == nil && c.SD()/width < g.Limit {
			return value, false, "the control is constant too: the same image"
		}
		return value, a != control && value < g.Limit, "spread in widths of the scale"
	}
	return value, false, ""
}

func (a *armWatch) latest() []float64 {
	if len(a.recent.values) < fewest {
		return a.reference
	}
	return a.recent.values
}

func p99(values []float64) float64 {
	if len(values) == 0 {
		return 0
	}
	ordered := slices.Sorted(slices.Values(values))
	return ordered[int(math.Ceil(0.99*float64(len(ordered))))-1]
}

// Watch looks at the guardrails of every running experiment and acts on those
// that are broken. Of several servers that see the same one acts.
func (e *Engine) Watch(ctx context.Context) {
	for _, l := range e.current.Load().running {
		e.act(ctx, l, e.guards(l))
	}
}

func (e *Engine) act(ctx context.Context, l *live, guards []analysis.Guard) {
	w := e.watchOf(l)
	var out []experiment.ArmID
	held := slices.Clone(l.Held)
	numbers := map[string]string{}
	detail := ""
	for _, g := range guards {
		name := string(g.Kind)
		if g.Arm != "" {
			name += " " + string(g.Arm)
		}
		if g.OK || !w.markReported(name) {
			continue
		}
		e.telemetry.tripped(ctx, l.ID, g.Kind, g.Action)
		e.Logger.WarnContext(ctx, "guardrail broken", "experiment", string(l.ID), "guardrail", name, "value",
			float64(g.Value), "limit", float64(g.Limit),
			"action", string(g.Action), "detail", g.Detail)
		numbers[name] = fmt.Sprintf("%s (limit %s)", number(float64(g.Value)), number(float64(g.Limit)))
		detail = name + " " + g.Detail
		transient := g.Kind == experiment.GuardStore || g.Kind == experiment.GuardTraffic
		switch {
		case g.Action == experiment.ActRollback && g.Arm == "":
			for _, a := range l.active {
				if a.Role == experiment.Treatment {
					out = append(out, a.ID)
				}
			}
		case g.Action == experiment.ActRollback && g.Arm != l.control.ID:
			out = append(out, g.Arm)
		case g.Action != experiment.ActWarn && !transient && !slices.Contains(held, name):
			held = append(held, name)
		}
	}
	if len(out) == 0 && len(held) == len(l.Held) {
		return
	}
	ctx, span := e.telemetry.tracer.Start(ctx, "experiment.guardrail", trace.WithNewRoot())
	defer span.End()
	span.SetAttributes(attribute.String("agiqa.experiment.id", string(l.ID)))
	span.AddEvent("guardrail", trace.WithAttributes(attribute.String("agiqa.guardrail", detail),
		attribute.Int("agiqa.arms.out", len(out))))
	change := experiment.Change{Do: experiment.DoHold, By: "server", Detail: detail, Numbers: numbers, Held: held}
	if len(out) > 0 {
		change = experiment.Change{Do: experiment.DoGuard, By: "server", Detail: detail, Numbers: numbers, Out: out}
	}
	if _, err := e.change(ctx, l.Experiment, change); err != nil {
		w.clearReported() // another server acted, or the store is away: look again
		e.Logger.WarnContext(ctx, "acting on a guardrail failed", "experiment", string(l.ID), "error", err)
		_ = e.Refresh(ctx) // which logs its own error
	}
}

// markReported marks a broken guardrail as reported; it returns false if it was already.
func (w *watch) markReported(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.reported[name] {
		return false
	}
	w.reported[name] = true
	return true
}

func (w *watch) clearReported() {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.reported)
}
