package scoring

import (
	"container/list"
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

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
	refusals     metric.Int64Counter
	release      func() error // takes the gauges off the meter

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
	costOfImage   = 0.3 // resizing, the encoder's share of this machine
)

func newAdmission(cfg Config, meter metric.Meter) (*admission, error) {
	a := &admission{turns: cfg.Concurrency, queue: cfg.Queue, retryAfter: cfg.RetryAfter}
	var err error
	if a.refusals, err = meter.Int64Counter("agiqa.admission.refusals", metric.WithUnit("{request}"),
		metric.WithDescription("Scoring requests that were refused at once: queue_full, or too_late to be done in their time; before their body was read, at the queue, or when their turn came.")); err != nil {
		return nil, fmt.Errorf("instrument agiqa.admission.refusals: %w", err)
	}
	depth, err := meter.Int64ObservableGauge("agiqa.queue.depth", metric.WithUnit("{request}"),
		metric.WithDescription("Scoring requests that wait for their turn."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.queue.depth: %w", err)
	}
	working, err := meter.Int64ObservableGauge("agiqa.queue.working", metric.WithUnit("{request}"),
		metric.WithDescription("Scoring requests that have their turn."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.queue.working: %w", err)
	}
	wait, err := meter.Float64ObservableGauge("agiqa.queue.wait", metric.WithUnit("s"),
		metric.WithDescription("How long a request that came now would take, at the pace of the last ones under load; 0 while nothing waits."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.queue.wait: %w", err)
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		a.mu.Lock()
		defer a.mu.Unlock()
		o.ObserveInt64(depth, int64(a.waiting.Len()))
		o.ObserveInt64(working, int64(a.working))
		o.ObserveFloat64(wait, a.expected(a.pace.cost).Seconds())
		return nil
	}, depth, working, wait)
	if err != nil {
		return nil, err
	}
	a.release = registration.Unregister
	return a, nil
}

// door says where a request is refused; it is a label of a metric.
type door string

const (
	beforeBody door = "before_body"
	atQueue    door = "queue"
	atTurn     door = "turn"
)

// look says whether a request that came now would be admitted, without
// admitting it: for those who have not read it yet. It costs a lock.
func (a *admission) look(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.refuse(ctx, max(a.pace.cost, costOfRequest), beforeBody)
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
	if err := a.refuse(ctx, cost, atQueue); err != nil {
		return nil, err
	}
	a.admitted += cost
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

func (a *admission) refuse(ctx context.Context, cost float64, at door) error {
	if a.working < a.turns && a.waiting.Len() == 0 {
		return nil
	}
	expected := a.expected(cost)
	reason, detail := "", ""
	switch deadline, has := ctx.Deadline(); {
	case a.waiting.Len() >= a.queue:
		reason, detail = "queue_full", "too many requests are waiting already"
	case has && expected+expected/4 > time.Until(deadline): // a pace is a guess
		reason, detail = "too_late", "too much work is waiting for this request to be done in its time"
	default:
		return nil
	}
	a.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", reason), attribute.String("at", string(at))))
	return quality.Errorf(quality.KindOverloaded, "%s", detail).After(max(a.retryAfter, expected/2))
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
	a.refusals.Add(ctx, 1, metric.WithAttributes(attribute.String("reason", "too_late"), attribute.String("at", string(atTurn))))
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

// pace learns how fast work is done while there is more of it than turns: then,
// and only then, the time between two ends says what a unit of cost takes.
type pace struct {
	last     time.Time // of the last end under load; zero: not under load
	interval float64   // seconds between ends, weighted to the last
	cost     float64   // of a request, weighted likewise
	took     float64   // seconds with a turn, weighted likewise
	samples  int
}

// The last forty or so requests count, and a few make no pace.
const (
	paceWeight = 1.0 / 40
	paceLeast  = 10
)

func (p *pace) begin(now time.Time) { p.last = now }
func (p *pace) pause()              { p.last = time.Time{} }

func (p *pace) finished(now time.Time, cost float64, took time.Duration) {
	if p.last.IsZero() {
		return
	}
	p.samples++
	weight := max(paceWeight, 1/float64(p.samples))
	p.interval += weight * (now.Sub(p.last).Seconds() - p.interval)
	p.cost += weight * (cost - p.cost)
	p.took += weight * (took.Seconds() - p.took)
	p.last = now
}

// time is what work of this cost takes, 0 while that is not known.
func (p *pace) time(cost float64) time.Duration {
	if p.samples < paceLeast || p.cost <= 0 {
		return 0
	}
	return time.Duration(cost * p.interval / p.cost * float64(time.Second))
}

// typical is how long a request keeps its turn, 0 while that is not known.
func (p *pace) typical() time.Duration {
	if p.samples < paceLeast {
		return 0
	}
	return time.Duration(p.took * float64(time.Second))
}
