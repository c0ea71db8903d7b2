package scoring

import (
	"container/list"
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/quality"
)

// admission is a bounded queue, first come first served, in front of bounded
// concurrency. It refuses at once what finds the queue full, and what cannot be
// done in its time at the pace of the last requests, given all that was
// admitted before it.
//
// Work is measured by cost: what decoding its images takes, in megapixels of a
// common JPEG, and a share for everything else.
type admission struct {
	turns, queue int
	retryAfter   time.Duration
	queueWait    time.Duration // 0: half of the time that a request has
	refusals     metric.Int64Counter

	mu       sync.Mutex
	working  int
	waiting  list.List // of *waiter
	admitted float64   // cost of all that work and wait
	pace     pace
}

type waiter struct {
	cost float64
	turn chan struct{} // closed when it has one
}

// Costs of what is not decoding.
const (
	costOfRequest = 0.1 // reading, looking up, answering
	costOfRow     = 0.3 // resizing, the encoder's share of this machine
)

func newAdmission(cfg Config, meter metric.Meter) (*admission, error) {
	a := &admission{turns: cfg.Concurrency, queue: cfg.Queue, retryAfter: cfg.RetryAfter, queueWait: cfg.QueueWait}
	refusals, err1 := metrics.AdmissionRefusals.New(meter)
	depth, err2 := metrics.QueueDepth.New(meter)
	working, err3 := metrics.QueueWorking.New(meter)
	wait, err4 := metrics.QueueWait.New(meter)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	a.refusals = refusals
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		o.ObserveInt64(depth, int64(a.waiting.Len()))
		o.ObserveInt64(working, int64(a.working))
		o.ObserveFloat64(wait, a.expected(a.pace.cost.value).Seconds())
		return nil
	}, depth, working, wait)
	return a, err
}

// refusal says how far a request had come; it is the outcome of
// [metrics.AdmissionRefusals].
type refusal string

const (
	rejectedBeforeBody refusal = "rejected_before_body"
	rejectedAfterBody  refusal = "rejected_after_body"
	expiredInQueue     refusal = "expired_in_queue"
)

// look says whether a request that came now would be admitted, without
// admitting it: for those who have not read it yet. It costs a lock.
func (a *admission) look(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refuse(ctx, max(a.pace.cost.value, costOfRequest), rejectedBeforeBody)
}

// acquire returns a function that gives the turn back, and whether it had to
// wait for it. It fails with overloaded, or with the context's error.
func (a *admission) acquire(ctx context.Context, cost float64) (release func(), waited bool, err error) {
	cost += costOfRequest
	w, err := a.join(ctx, cost)
	if err != nil {
		return nil, false, err
	}
	if w != nil {
		select {
		case <-w.turn:
		case <-ctx.Done():
			a.leave(w)
			return nil, true, context.Cause(ctx)
		}
		if err := a.inTime(ctx, cost); err != nil {
			return nil, true, err
		}
	}
	began := time.Now()
	return func() { a.done(cost, time.Since(began)) }, w != nil, nil
}

// join takes a turn, or a place in the queue.
func (a *admission) join(ctx context.Context, cost float64) (*waiter, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if err := a.refuse(ctx, cost, rejectedAfterBody); err != nil {
		return nil, err
	}
	a.admitted += cost
	if a.working == 0 {
		a.pace.busy(time.Now())
	}
	if a.working < a.turns && a.waiting.Len() == 0 {
		if a.working++; a.working == a.turns {
			a.pace.begin(time.Now())
		}
		return nil, nil
	}
	w := &waiter{cost: cost, turn: make(chan struct{})}
	a.waiting.PushBack(w)
	return w, nil
}

// refuse also refuses while turns are free, if those that are taken hold more
// work than can be done in time: turns that are many enough for a quick encoder
// are too many for a slow one. A request that comes alone is never refused.
func (a *admission) refuse(ctx context.Context, cost float64, outcome refusal) error {
	if a.working == 0 {
		return nil
	}
	free := a.working < a.turns && a.waiting.Len() == 0
	expected := a.pace.time(a.admitted + cost)
	reason, detail := "", ""
	switch {
	case !free && a.waiting.Len() >= a.places():
		reason, detail = "queue_full", "too many requests are waiting already"
	case expected > a.bound(ctx):
		reason, detail = "too_late", "too much work is waiting for this request to be done in its time"
	default:
		return nil
	}
	a.pace.loaded() // it is kept as busy as it may be
	a.refusals.Add(ctx, 1, metric.WithAttributes(metrics.Reason(reason), metrics.Outcome(outcome)))
	return quality.Errorf(quality.KindOverloaded, "%s", detail).After(max(a.retryAfter, expected/2))
}

// places is how many may wait. Before there is a pace a long queue would be a
// promise that nobody can assess.
func (a *admission) places() int {
	if a.pace.known() {
		return a.queue
	}
	return min(a.queue, max(a.turns, queueBlind))
}

// bound is how long a request may be expected to take. A pace is a guess, and
// what is slower than it was must still be answered in time.
func (a *admission) bound(ctx context.Context) time.Duration {
	bound := a.queueWait
	if deadline, has := ctx.Deadline(); has {
		if half := time.Until(deadline) / 2; bound == 0 || half < bound {
			return half
		}
	} else if bound == 0 {
		return math.MaxInt64
	}
	return bound
}

// expected is how long work of this cost would take if it came now: all that
// was admitted comes first.
func (a *admission) expected(cost float64) time.Duration {
	if a.waiting.Len() == 0 && a.working < a.turns {
		return 0
	}
	return a.pace.time(a.admitted + cost)
}

// leave takes a waiter out that does not want its turn any more.
func (a *admission) leave(w *waiter) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for e := a.waiting.Front(); e != nil; e = e.Next() {
		if e.Value == w {
			a.waiting.Remove(e)
			a.admitted -= w.cost
			return
		}
	}
	a.next(w.cost) // it had got its turn in the same moment
}

// inTime gives a turn back that came too late to be used: work that will not be
// done by its deadline takes the time of work that would be.
func (a *admission) inTime(ctx context.Context, cost float64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	deadline, has := ctx.Deadline()
	if !has || time.Until(deadline) >= a.pace.typical() {
		return nil
	}
	a.next(cost)
	a.refusals.Add(ctx, 1, metric.WithAttributes(metrics.Reason("too_late"), metrics.Outcome(expiredInQueue)))
	return quality.Errorf(quality.KindDeadlineExceeded, "the request's turn came too late for it to be done in its time")
}

func (a *admission) done(cost float64, took time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.pace.finished(time.Now(), cost, took)
	a.next(cost)
}

// next hands a turn on.
func (a *admission) next(cost float64) {
	a.admitted -= cost
	if front := a.waiting.Front(); front != nil {
		close(a.waiting.Remove(front).(*waiter).turn)
		return
	}
	if a.working--; a.working < a.turns {
		a.pace.pause()
	}
	if a.working == 0 {
		a.admitted = 0 // what rounding left
	}
}

// pace learns how fast work is done from the times between two ends. While there
// is more work than turns, or than may be admitted, they say what a unit of cost
// takes. While there is less they still bound it from above: a server that has
// more to do is no slower. The better of the two counts, so that a slow moment is
// forgotten in whatever traffic comes after it.
type pace struct {
	last    time.Time // the last end, or the beginning of work
	load    bool      // what comes next is a sample under load
	under   average   // seconds between ends under load
	working average   // seconds between ends while there was work
	cost    average   // of a request
	took    average   // seconds with a turn
}

// average weighs the last values most: the last forty or so.
type average struct {
	value   float64
	samples int
}

func (a *average) add(x float64) {
	a.samples++
	a.value += max(paceWeight, 1/float64(a.samples)) * (x - a.value)
}

// The last forty or so requests count, and a few make no pace.
const (
	paceWeight = 1.0 / 40
	paceLeast  = 10
	queueBlind = 40 // may wait without a pace, or as many as have turns
)

// busy says that work begins after there was none.
func (p *pace) busy(now time.Time) { p.last = now }

// begin says that from now on there is more work than turns.
func (p *pace) begin(now time.Time) {
	if !p.load {
		p.load, p.last = true, now
	}
}

// loaded says that there has been as much work as may be admitted, since the
// last end too: something was refused.
func (p *pace) loaded() { p.load = true }

func (p *pace) pause() { p.load = false }

func (p *pace) finished(now time.Time, cost float64, took time.Duration) {
	between := now.Sub(p.last).Seconds()
	p.last = now
	p.working.add(between)
	p.cost.add(cost)
	p.took.add(took.Seconds())
	if p.load {
		p.under.add(between)
	}
}

func (p *pace) known() bool { return p.working.samples >= paceLeast && p.cost.value > 0 }

// time is what work of this cost takes, 0 while that is not known.
func (p *pace) time(cost float64) time.Duration {
	if !p.known() {
		return 0
	}
	interval := p.working.value
	if p.under.samples >= paceLeast {
		interval = min(interval, p.under.value)
	}
	return time.Duration(cost * interval / p.cost.value * float64(time.Second))
}

// typical is how long a request keeps its turn, 0 while that is not known.
func (p *pace) typical() time.Duration {
	if p.took.samples < paceLeast {
		return 0
	}
	return time.Duration(p.took.value * float64(time.Second))
}
