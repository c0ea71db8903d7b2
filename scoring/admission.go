package scoring

import (
	"context"
	"errors"
	"math"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/internal/fair"
	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/quality"
)

// admission is a bounded queue in front of bounded concurrency. Turns are shared
// fairly between clients, and within a client between its connections. It
// refuses at once what finds the queue full, and what cannot be done in its time
// at the pace of the last requests: given what its own connection and client
// have waiting already, and their share of what all do. What others have waiting
// refuses nobody.
//
// Work is measured by cost: what decoding its images takes, in megapixels of a
// common JPEG, and a share for everything else.
type admission struct {
	queue      int
	turns      int
	retryAfter time.Duration
	queueWait  time.Duration // 0: half of the time that a request has
	refusals   metric.Int64Counter

	mu   sync.Mutex
	pool *fair.Pool[*waiter]
	pace pace
	// large are those that have only some of the turns while small ones come.
	large struct{ cost, took average }
}

// waiter is a request that has a turn or waits for one.
type waiter struct {
	cost  float64
	began time.Time
	turn  chan struct{} // closed when it has one, or err is set
	err   error         // it has lost its place
}

// turn is a waiter's place.
type turn = fair.Turn[*waiter]

// keptTurns is how many of the turns large requests leave free while small ones
// come: all but as many as decode at once. A large request that is decoded wants
// the encoder, which serves its calls in their order; many of them would stand
// there before every small one.
func keptTurns(turns int) int {
	decoders := decodersAtOnce()
	return max(0, turns-(decoders-keptDecoders(decoders)))
}

// Costs of what is not decoding.
const (
	costOfRequest = 0.1 // reading, looking up, answering
	costOfRow     = 0.3 // resizing, the encoder's share of this machine
)

func newAdmission(cfg Config, meter metric.Meter) (*admission, error) {
	a := &admission{
		turns: cfg.Concurrency, queue: cfg.Queue, retryAfter: cfg.RetryAfter, queueWait: cfg.QueueWait,
		pool: fair.NewPool[*waiter](fair.Config{Units: cfg.Concurrency, Kept: keptTurns(cfg.Concurrency)}),
	}
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
		o.ObserveInt64(depth, int64(a.pool.Queue().Len()))
		o.ObserveInt64(working, int64(a.pool.Used()))
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
	expelledFromQueue  refusal = "expelled_from_queue"
)

// look says whether a request that came now would be admitted, without
// admitting it: for those who have not read it yet. It costs a lock. What the
// request will cost nobody knows, so it is taken for a small one.
func (a *admission) look(ctx context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, err := a.refuse(ctx, whoOf(ctx), max(a.pace.small, costOfRequest), rejectedBeforeBody)
	return err
}

// whoOf is who a request counts for.
func whoOf(ctx context.Context) fair.Who {
	p := access.From(ctx)
	return fair.Who{Client: p.Client, Connection: p.Connection}
}

// acquire returns a function that gives the turn back, and whether it had to
// wait for it. It fails with overloaded, or with the context's error.
func (a *admission) acquire(ctx context.Context, cost float64) (release func(), waited bool, err error) {
	cost += costOfRequest
	t, waits, err := a.join(ctx, cost)
	if err != nil {
		return nil, false, err
	}
	if waits {
		select {
		case <-t.Value.turn:
			if t.Value.err != nil {
				return nil, true, t.Value.err
			}
		case <-ctx.Done():
			a.leave(t)
			return nil, true, context.Cause(ctx)
		}
		if err := a.inTime(ctx, t); err != nil {
			return nil, true, err
		}
	}
	return func() { a.done(t) }, waits, nil
}

// join takes a turn, or a place in the queue.
func (a *admission) join(ctx context.Context, cost float64) (t *turn, waits bool, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	who := whoOf(ctx)
	longest, err := a.refuse(ctx, who, cost, rejectedAfterBody)
	if err != nil {
		return nil, false, err
	}
	now := time.Now()
	if a.pool.Used() == 0 {
		a.pace.busy(now)
	}
	if longest != nil {
		a.expel(ctx, longest)
	}
	t = a.pool.Enter(now, who, cost, 0, &waiter{cost: cost, turn: make(chan struct{})})
	a.begin(now)
	if a.pool.Used() == a.turns {
		a.pace.begin(now)
	}
	return t, t.Waiting(), nil
}

// begin gives turns to those whose time has come.
func (a *admission) begin(now time.Time) {
	for t := a.pool.Begin(); t != nil; t = a.pool.Begin() {
		t.Value.began = now
		close(t.Value.turn)
	}
}

// refuse also refuses while turns are free, if those that are taken hold more
// work than can be done in time: turns that are many enough for a quick encoder
// are too many for a slow one. A request that comes alone is never refused.
//
// Where the queue is full and others have more in it, the request may have the
// place of the longest, which is returned.
func (a *admission) refuse(ctx context.Context, who fair.Who, cost float64,
	outcome refusal) (longest *turn, err error) {
	if a.pool.Used() == 0 {
		return nil, nil
	}
	queue := a.pool.Queue()
	full := (a.pool.Used() >= a.turns || queue.Len() > 0) && queue.Len() >= a.places()
	if item := queue.Longest(); full && item != nil && queue.Shorter(who, cost, item) {
		longest, full = item.Value, false
	}
	ahead := queue.Ahead(who, cost)
	expected := a.pace.time(ahead)
	if a.pool.IsLarge(cost) {
		expected = max(expected, a.largeTime(ahead))
	}
	reason, detail := "", ""
	switch {
	case full:
		reason, detail = "queue_full", "too many requests are waiting already"
	case expected > a.bound(ctx):
		reason, detail = "too_late", "too much work is waiting for this request to be done in its time"
	default:
		return longest, nil
	}
	a.pace.loaded() // it is kept as busy as it may be
	return nil, a.overloaded(ctx, reason, detail, outcome, expected)
}

func (a *admission) overloaded(
	ctx context.Context, reason, detail string, outcome refusal, expected time.Duration,
) error {
	a.refusals.Add(ctx, 1, metric.WithAttributes(metrics.Reason(reason), metrics.Outcome(outcome)))
	return quality.Errorf(quality.KindOverloaded, "%s", detail).After(max(a.retryAfter, expected/2))
}

// expel takes the place of one that waits, for one of somebody who has less.
func (a *admission) expel(ctx context.Context, t *turn) {
	a.pool.Leave(t)
	t.Value.err = a.overloaded(ctx, "queue_full",
		"too many requests of this client are waiting already", expelledFromQueue,
		a.pace.time(a.pool.Queue().Cost()))
	close(t.Value.turn)
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

// expected is how long work of this cost would take if it came now and all that
// was admitted came first.
func (a *admission) expected(cost float64) time.Duration {
	if a.pool.Queue().Len() == 0 && a.pool.Used() < a.turns {
		return 0
	}
	return a.pace.time(a.pool.Queue().Cost() + cost)
}

// largeTime is what work takes that has only the turns of large requests, 0 while
// that is not known.
func (a *admission) largeTime(cost float64) time.Duration {
	if a.large.took.samples == 0 {
		return 0
	}
	each := a.large.took.value / float64(a.pool.LargeUnits())
	return time.Duration(cost / a.large.cost.value * each * float64(time.Second))
}

// leave takes a waiter out that does not want its turn any more. It may have got
// it in the same moment, or lost its place.
func (a *admission) leave(t *turn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if t.Value.err == nil {
		a.out(t)
	}
}

// inTime gives a turn back that came too late to be used: work that will not be
// done by its deadline takes the time of work that would be.
func (a *admission) inTime(ctx context.Context, t *turn) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	deadline, has := ctx.Deadline()
	if !has || time.Until(deadline) >= a.pace.typical() {
		return nil
	}
	a.out(t)
	a.refusals.Add(ctx, 1, metric.WithAttributes(metrics.Reason("too_late"), metrics.Outcome(expiredInQueue)))
	return quality.Errorf(quality.KindDeadlineExceeded, "the request's turn came too late for it to be done in its time")
}

func (a *admission) done(t *turn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	now := time.Now()
	took := now.Sub(t.Value.began)
	a.pace.finished(now, t.Value.cost, took)
	if t.Large() {
		a.large.cost.add(t.Value.cost)
		a.large.took.add(took.Seconds())
	}
	a.out(t)
}

// out takes a request out and hands its turn on.
func (a *admission) out(t *turn) {
	a.pool.Leave(t)
	a.begin(time.Now())
	if a.pool.Used() < a.turns {
		a.pace.pause()
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
	small   float64   // what the cheapest of the last requests cost
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
	if p.small += paceWeight * (cost - p.small); p.cost.samples == 1 || cost < p.small {
		p.small = cost
	}
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
