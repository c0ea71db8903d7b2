package engine

import (
	"context"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// placement is the arm that an image of a request was assigned to.
type placement struct {
	arm    experiment.ArmID // "": in none
	kind   experiment.UnitKind
	unit   string // keyed
	bucket experiment.PPM
	rank   int
}

// Trial is the part of one request in one experiment.
type Trial struct {
	engine     *Engine
	live       *live
	caller     experiment.Caller
	placements []placement
	began      time.Time
}

// Enrol finds the first running experiment that takes the request, the one that
// was started first before the others, and puts its images into arms. It
// returns nil where there is none. Requests that are left out are counted.
func (e *Engine) Enrol(ctx context.Context, c experiment.Caller, images []func() quality.Digest) *Trial {
	for _, l := range e.current.Load().running {
		t := &Trial{engine: e, live: l, caller: c, placements: make([]placement, len(images)), began: e.Now()}
		why := "audience"
		if l.Audience.Admits(c.Attributes) {
			why = t.assign(images)
		}
		if why == "" {
			trace.SpanFromContext(ctx).SetAttributes(
				attribute.String("agiqa.experiment.id", string(l.ID)), attribute.Int("agiqa.experiment.phase", l.Phase))
			return t
		}
		e.telemetry.leftOut(ctx, l.ID, why)
	}
	return nil
}

// assign puts every image into an arm. It returns why the request is left out,
// "" where it is not.
func (t *Trial) assign(images []func() quality.Digest) string {
	why := "no_unit"
	taken := false
	for i, image := range images {
		if image == nil {
			continue
		}
		kind, value, ok := t.live.UnitOf(t.caller, image)
		if !ok {
			continue
		}
		arm, ok := t.engine.Hasher.Assign(t.live.Experiment, kind, value)
		if !ok {
			why = "coverage"
			continue
		}
		t.placements[i] = placement{arm: arm, kind: kind, unit: t.engine.Hasher.Unit(kind, value),
			bucket: t.engine.Hasher.Bucket(t.live.HashVersion, t.live.Salt, kind, value)}
		taken = true
	}
	if taken {
		return ""
	}
	return why
}

// Arms implements scoring.Trial.
func (t *Trial) Arms() ([]experiment.Arm, []quality.Checkpoint) {
	return t.live.active, t.live.checkpoints
}

// Expose implements scoring.Trial.
func (t *Trial) Expose(ctx context.Context, s experiment.Scored) []*experiment.Shown {
	e := t.engine
	t.checkRange(&s)
	if !t.caller.Blind { // a ranking tells scores
		t.rank(ctx, s)
	}
	shown := make([]*experiment.Shown, len(t.placements))
	var records []experiment.Exposure
	for i, p := range t.placements {
		if p.arm == "" || s.Outcomes[i].Image.IsZero() {
			continue
		}
		record, err := t.record(ctx, p, s, s.Outcomes[i])
		if err != nil { // no entropy
			e.Logger.ErrorContext(ctx, "generating an exposure id failed", "error", err)
			continue
		}
		records = append(records, record)
		// Before the record is written, so that nobody is told meanwhile.
		e.saw(ctx, t.live.ID, 0, experiment.Sighting{Image: record.Image, Blind: record.Blind})
		shown[i] = &experiment.Shown{
			Experiment: t.live.ID, Phase: t.live.Phase, Arm: p.arm, Assignment: record.Assignment, Rank: p.rank,
			Served: t.served(p.arm, s.Outcomes[i]),
		}
	}
	if err := e.append(ctx, records); err != nil {
		trace.SpanFromContext(ctx).SetAttributes(attribute.Bool("agiqa.experiment.degraded", true))
		e.Logger.WarnContext(ctx, "recording exposures failed; the control arm answers", "experiment",
			string(t.live.ID), "error", err)
		e.telemetry.wasDegraded(ctx, t.live.ID, len(records))
		control := t.index(t.live.control.ID)
		for i := range shown {
			if shown[i] != nil {
				shown[i] = &experiment.Shown{
					Experiment: t.live.ID, Phase: t.live.Phase, Arm: t.live.control.ID, Served: control, Degraded: true,
				}
			}
		}
	} else {
		for _, r := range records { // what is in the log, so that the two agree
			e.telemetry.exposed(ctx, t.live.ID, r.Shown, r.Status)
		}
	}
	e.observe(t.live, records)
	return shown
}

// append writes records, within a bound of its own: a client that left does not
// stop it, and a store that hangs does not hold the answer.
func (e *Engine) append(ctx context.Context, records []experiment.Exposure) error {
	if len(records) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), e.ExposeTimeout)
	defer cancel()
	err := e.Store.AppendExposures(ctx, records)
	if err != nil {
		e.telemetry.storeFailed(ctx, "exposures")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.degraded = err != nil
	if err != nil {
		e.failures++
	}
	return err
}

func (t *Trial) record(ctx context.Context, p placement, s experiment.Scored,
	o experiment.Outcome) (experiment.Exposure, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return experiment.Exposure{}, err
	}
	ticket, err := uuid.NewRandom()
	if err != nil {
		return experiment.Exposure{}, err
	}
	encoder, preprocess := s.Encoder, s.Preprocess
	if encoder.IsZero() { // nothing was scored
		encoder, preprocess = t.live.Encoder, t.live.Preprocess
	}
	blindly := t.caller.Blind
	if !blindly {
		// Its score is withheld, so nobody is shown it now either.
		how, _, err := t.engine.sightOf(ctx, o.Image)
		blindly = err == nil && how&blind != 0
	}
	x := experiment.Exposure{
		ID: id.String(), Assignment: t.engine.Hasher.Assignment(ticket),
		Time: t.engine.about().Latest.UTC(), SinceBoot: time.Since(t.engine.boot),
		Experiment: t.live.ID, Phase: t.live.Phase, Unit: p.unit, Bucket: &p.bucket,
		UnitKind: p.kind, Shown: p.arm, Rank: p.rank,
		Image: o.Image, Prompt: t.caller.Prompt, Encoder: encoder, Preprocess: preprocess,
		Scores: o.Scores, Cached: o.Cached, TotalMS: s.TotalMS, HeadMS: s.HeadMS,
		Blind: blindly, Status: o.Status, Slices: t.caller.Attributes, Trace: t.caller.Trace,
	}
	if sc := trace.SpanContextFromContext(ctx); x.Trace == "" && sc.HasTraceID() {
		x.Trace = sc.TraceID().String()
	}
	return x, nil
}

// served is the arm that answers: the assigned one, or the control where that
// one has no score.
func (t *Trial) served(arm experiment.ArmID, o experiment.Outcome) int {
	k := t.index(arm)
	if k < len(o.Scores) && o.Scores[k].Fault == "" {
		return k
	}
	return t.index(t.live.control.ID)
}

func (t *Trial) index(arm experiment.ArmID) int {
	for k, a := range t.live.active {
		if a.ID == arm {
			return k
		}
	}
	return 0
}

// slack is how far beyond its scale a score may be, in widths of it: heads are
// not clipped, and stray a little.
const slack = 0.1

// checkRange takes scores that cannot be meant for faults.
func (t *Trial) checkRange(s *experiment.Scored) {
	low, high := t.live.ScoreMin, t.live.ScoreMax
	width := high - low
	if width <= 0 {
		return
	}
	for i := range s.Outcomes {
		for k := range s.Outcomes[i].Scores {
			a := &s.Outcomes[i].Scores[k]
			if f := float64(a.Score); a.Fault == "" && (f < low-slack*width || f > high+slack*width) {
				a.Fault = "out_of_range"
			}
		}
	}
}
