package engine

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/internal/ratelimit"
	"github.com/agiqa/agiqa/quality"
)

// Engine runs experiments. It is safe for concurrent use.
type Engine struct {
	Deps
	telemetry *telemetry
	raters    *ratelimit.Limiter           // how fast each rater may send
	boot      time.Time                    // monotonic
	lastRead  atomic.Pointer[clockReading] // of the store's clock, the last one

	seals   *seals
	reports chan struct{} // holds the one report that is computed
	// agreements are what took long of the last reports.
	agreements *analysis.Agreements

	current    atomic.Pointer[snapshot]
	refreshing sync.Mutex // held through a refresh

	mu       sync.Mutex
	watches  map[experiment.ID]*watch
	readings map[experiment.ID]*reading
	applied  map[experiment.ID]int64 // revision of the promotion or rollback that this server followed
	degraded bool                    // the last append failed
	failures int                     // appends that failed since the last look
}

// New returns an Engine that knows no experiment until [Engine.Refresh] or
// [Engine.Run]. Its store is the caller's to close.
func New(deps Deps) (*Engine, error) {
	if deps.Now == nil {
		deps.Now = time.Now
	}
	deps.ExposeTimeout = cmp.Or(deps.ExposeTimeout, exposeTimeout)
	e := &Engine{
		Deps: deps, raters: ratelimit.New(raterLimits, deps.Now), boot: time.Now(),
		reports: make(chan struct{}, 1), agreements: &analysis.Agreements{},
		seals: newSeals(cmp.Or(deps.MaxImages, mostImages)), watches: map[experiment.ID]*watch{},
		readings: map[experiment.ID]*reading{}, applied: map[experiment.ID]int64{},
	}
	e.current.Store(&snapshot{})
	var err error
	e.telemetry, err = newTelemetry(deps.Tracer, deps.Meter, e.seals.size)
	return e, err
}

// Run follows the store until ctx ends.
func (e *Engine) Run(ctx context.Context) {
	var loops sync.WaitGroup
	defer loops.Wait()
	every := func(interval time.Duration, f func(context.Context)) {
		loops.Go(func() {
			ticker := time.NewTicker(interval)
			defer ticker.Stop()
			for {
				f(ctx)
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	every(refreshInterval, func(ctx context.Context) { _ = e.Refresh(ctx) }) // said in status; the old snapshot stays
	every(watchInterval, e.Watch)
	every(decideInterval, e.Decide)
}

// snapshot is what this server knows of the experiments. It is never modified.
type snapshot struct {
	all       []experiment.Experiment
	running   []*live
	notServed map[experiment.ID]string // why a running experiment is not served here
}

// live is an experiment that takes requests.
type live struct {
	experiment.Experiment
	control     experiment.Arm
	active      []experiment.Arm // not removed by a guardrail
	checkpoints []quality.Checkpoint
}

// Refresh reads the store. On an error everything goes on with what was known.
func (e *Engine) Refresh(ctx context.Context) error {
	e.refreshing.Lock()
	defer e.refreshing.Unlock()
	ctx, cancel := context.WithTimeout(ctx, 10*refreshInterval)
	defer cancel()
	now, err := e.instant(ctx)
	if err != nil {
		e.telemetry.storeFailed(ctx, "clock")
		return err
	}
	all, err := e.Store.List(ctx)
	if err != nil {
		e.telemetry.storeFailed(ctx, "list")
		return err
	}
	e.follow(ctx, all, now)
	next := &snapshot{all: all, notServed: map[experiment.ID]string{}}
	for _, x := range all {
		if x.State != experiment.Running {
			continue
		}
		l, err := e.resolve(x)
		if err != nil {
			next.notServed[x.ID] = err.Error()
			continue
		}
		next.running = append(next.running, l)
	}
	slices.SortFunc(next.running, func(a, b *live) int { return inTurn(a.Experiment, b.Experiment) })
	e.logChanges(ctx, e.current.Swap(next), next)
	e.keepWatches(next)
	if err := e.followImages(ctx, e.seals.keep(all)...); err != nil {
		e.telemetry.storeFailed(ctx, "sightings")
	}
	return nil
}

// logChanges logs the experiments that this server has stopped serving since the last refresh.
func (e *Engine) logChanges(ctx context.Context, old, next *snapshot) {
	for id, why := range next.notServed {
		if old.notServed[id] != why {
			e.Logger.WarnContext(ctx, "experiment is not served by this server", "experiment", string(id), "why", why)
		}
	}
}

// resolve resolves the arms of an experiment to what this server has.
func (e *Engine) resolve(x experiment.Experiment) (*live, error) {
	l := &live{Experiment: x}
	control, ok := x.Control()
	if !ok {
		return nil, quality.Errorf(quality.KindExperimentInvalid, "the experiment has no control arm")
	}
	l.control = control
	if def, err := e.Checkpoints.Default(); err != nil {
		return nil, err
	} else if def.Digest != control.Digest {
		return nil, notDefault(control, def)
	}
	for _, a := range x.Arms {
		if a.Out {
			continue
		}
		c, err := e.resolveArm(a)
		if err != nil {
			return nil, err
		}
		l.active, l.checkpoints = append(l.active, a), append(l.checkpoints, c)
	}
	return l, nil
}

// notDefault is an experiment whose control is not what everybody else gets: an
// experiment asks whether the default should be replaced.
func notDefault(control experiment.Arm, def quality.Checkpoint) error {
	return quality.Errorf(quality.KindConflict, "the control, checkpoint %s, is not the server's default, which is %s",
		control.Checkpoint, def.Name)
}

// resolveArm returns the checkpoint that an arm means. Its name may have come to
// mean another one.
func (e *Engine) resolveArm(a experiment.Arm) (quality.Checkpoint, error) {
	c, err := e.Checkpoints.Resolve(a.Checkpoint)
	if err != nil {
		return c, err
	}
	if c.Digest != a.Digest {
		return c,
			quality.Errorf(quality.KindConflict, "checkpoint %s of this server differs from the experiment's", a.Checkpoint)
	}
	return c, nil
}
