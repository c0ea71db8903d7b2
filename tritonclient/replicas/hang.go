package replicas

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// Bounds of silence, and why.
const (
	// hangsAfter is how long a server may leave everything unanswered that was
	// sent to it. What waits is sent elsewhere then, long before its deadline.
	hangsAfter = 3 * time.Second
	// A server whose pace is not known yet may be compiling.
	hangsAfterFirst = 15 * time.Second
	// Rows take their time: so many times the usual one is silence.
	hangsAfterUsual = 4
	watchEvery      = 250 * time.Millisecond
)

var errHangs = errors.New("the server left everything unanswered")

// flights are the inferences under way on one replica.
type flights struct {
	mu       sync.Mutex
	under    map[*flight]struct{}
	rows     int
	answered time.Time     // the last time that it answered anything
	perRow   time.Duration // the usual time, weighted to the last
	silent   time.Time     // since when it hangs; zero: it does not
}

type flight struct {
	rows   int
	start  time.Time
	cancel context.CancelCauseFunc
}

// begin enters an inference. end says whether the server answered.
func (f *flights) begin(ctx context.Context, rows int) (_ context.Context, end func(answered bool)) {
	ctx, cancel := context.WithCancelCause(ctx)
	one := &flight{rows: max(1, rows), start: time.Now(), cancel: cancel}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.under == nil {
		f.under = map[*flight]struct{}{}
	}
	f.under[one] = struct{}{}
	f.rows += one.rows
	return ctx, func(answered bool) {
		cancel(nil)
		f.mu.Lock()
		defer f.mu.Unlock()
		delete(f.under, one)
		f.rows -= one.rows
		if !answered {
			return
		}
		f.answered, f.silent = time.Now(), time.Time{}
		perRow := time.Since(one.start) / time.Duration(one.rows)
		if f.perRow == 0 {
			f.perRow = perRow
		}
		f.perRow += (perRow - f.perRow) / 10
	}
}

// hangs reports whether the server has been silent for too long, and takes
// everything back that waits for it.
func (f *flights) hangs(now time.Time) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	since := now
	for one := range f.under {
		if one.start.Before(since) {
			since = one.start
		}
	}
	if f.answered.After(since) {
		since = f.answered
	}
	patience := hangsAfterFirst
	if f.perRow > 0 {
		patience = max(hangsAfter, hangsAfterUsual*f.perRow*time.Duration(f.rows))
	}
	if len(f.under) == 0 || now.Sub(since) < patience {
		return false
	}
	if f.silent.IsZero() {
		f.silent = since
	}
	for one := range f.under {
		one.cancel(errHangs)
	}
	return true
}

// silence is how long the server has hung; 0: it does not.
func (f *flights) silence() time.Duration {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.silent.IsZero() {
		return 0
	}
	return time.Since(f.silent)
}

// watchSilence ejects servers that hang until ctx ends.
func (p *Pool) watchSilence(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		for _, r := range p.all() {
			if !r.flights.hangs(time.Now()) {
				continue
			}
			if r.health.eject(ejectedLate, r.begun()) {
				p.metrics.ejection(ejectedLate)
				p.cfg.Logger.Warn("triton hangs", "address", r.addr)
			}
			p.lookAgain(r)
		}
	}
}

// Silence is how long all servers have left everything unanswered that was
// sent to them; 0 if one did not.
func (p *Pool) Silence() time.Duration {
	var least time.Duration
	for i, r := range p.all() {
		if s := r.flights.silence(); i == 0 || s < least {
			least = s
		}
	}
	return least
}

// hung is the error of an inference that was taken back from a server.
func (r *Replica) hung(model string) error {
	return quality.Errorf(quality.KindModelUnavailable, "the server of %s does not answer", subject(model)).
		Because(&Error{Replica: r.addr, Err: errHangs}).After(RetryAfter)
}
