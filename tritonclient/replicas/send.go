package replicas

import (
	"context"
	"errors"
	"time"

	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/quality"
)

// Ask is one inference as a pool sees it: what is asked, and of whom.
type Ask struct {
	Model string
	Rows  int // how many it computes; 0 is 1
	// Holds is what the server must hold; zero: it doesn't matter.
	Holds Holding
	// Proven says that the answer counts only if the server held that before the
	// inference and holds it after, on the same connection.
	Proven bool
}

// Holding is what a server holds by the name of a model, as Calls.Identify says
// it.
type Holding struct{ Model, Identity string }

// Call is one inference over conn. It returns gRPC's own error, or a
// *[quality.Error] of kind model_bad_output if the reply must not be believed.
type Call func(ctx context.Context, conn grpc.ClientConnInterface) error

// mostCalls is how often one inference is sent.
const mostCalls = 2

// Do makes one inference on whichever replica is next, and makes it once more
// on another one where the first refused it, was not reached, died with it or
// turned out to hold something else: an inference changes nothing on a server.
// What an absent server left undone costs no living one anything; what a living
// one refused is sent again within the budget of second attempts only.
//
// The call has until deadline. When caller is cancelled, Do returns at once and a
// call that was sent runs on to its own end: cancelling a call under way can crash
// servers before 24.12, and would not stop a model that has begun to compute.
// What the call writes may be read only if Do returns nil.
func (p *Pool) Do(caller context.Context, deadline time.Time, ask Ask, call Call) error {
	return p.detach(caller, deadline, ask.Model, func(ctx context.Context) error {
		p.awaitNames(ctx)
		var tried []*Replica
		var failure error
		var terms elsewhere
		for calls := 0; ; {
			r, probe := p.choose(ask, tried, true)
			switch {
			case r == nil && failure != nil:
				return failure
			case r == nil:
				return p.noReplica()
			case terms == withinBudget && !p.budget.Failure():
				p.metrics.retry(ctx, "no_budget")
				if probe {
					p.assess(r, inconclusive, true)
				}
				return failure
			case calls > 0:
				p.metrics.retry(ctx, "sent")
			}
			var err error
			if terms, err = r.attempt(ctx, caller, probe, ask, call); err == nil {
				return nil
			}
			if terms != notSent {
				calls++
			}
			if terms != notSent || !errors.Is(failure, errExchanged) { // which says more
				failure = r.Failure(ctx, ask.Model, err)
			}
			if terms == stay || calls == mostCalls || ctx.Err() != nil {
				return failure
			}
			tried = append(tried, r)
		}
	})
}

// Do is [Pool.Do] on this replica and no other.
func (r *Replica) Do(caller context.Context, deadline time.Time, ask Ask, call Call) error {
	return r.pool.detach(caller, deadline, ask.Model, func(ctx context.Context) error {
		_, err := r.attempt(ctx, caller, false, ask, call)
		return r.Failure(ctx, ask.Model, err)
	})
}

// detach counts an inference and runs send until deadline, whether or not ctx
// ends before.
func (p *Pool) detach(ctx context.Context, deadline time.Time, model string, send func(context.Context) error) error {
	if ctx.Err() != nil {
		return ended(ctx, model)
	}
	counted, err := p.inFlight.take()
	if err != nil {
		return err
	}
	done := make(chan error, 1)
	go func() {
		detached, cancel := context.WithDeadline(context.WithoutCancel(ctx), deadline)
		err := send(detached)
		cancel()
		counted.end() // first: whoever gets the answer may take the place at once
		done <- err
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		counted.abandon()
		return ended(ctx, model)
	}
}

// elsewhere says on what terms another replica may be asked.
type elsewhere int

const (
	stay         elsewhere = iota
	withinBudget           // the server refused, and lives on
	free                   // the server is not there, is leaving, died, or holds something else
	notSent                // as free, and the call was not made
)

// attempt makes the call on r once and lets what happened count for or against
// r. If the caller leaves while r is asked what it holds, nothing is sent.
func (r *Replica) attempt(
	ctx, caller context.Context, probe bool, ask Ask, call Call,
) (terms elsewhere, err error) {
	p := r.pool
	r.outstanding.Add(1)
	defer r.outstanding.Add(-1)
	ctx, end := r.flights.begin(ctx, ask.Rows)
	answered := false
	defer func() {
		taken := errors.Is(context.Cause(ctx), errHangs)
		if end(answered); taken && err != nil {
			p.assess(r, inconclusive, probe) // it was ejected when it was taken back
			terms, err = free, r.hung(ask.Model)
		}
	}()
	start, link := time.Now(), r.link()
	before, err := r.before(ctx, link, ask)
	if err != nil {
		v := unreachable
		switch {
		case ctx.Err() != nil:
			v = resultOf(ctx, err, time.Since(start), r.health.patience())
		case errors.Is(err, errExchanged):
			v = exchanged
		}
		p.assess(r, v, probe)
		return notSent, err
	}
	if caller.Err() != nil {
		p.assess(r, inconclusive, probe)
		return stay, ended(caller, ask.Model)
	}
	conn := &observed{ClientConnInterface: link.conn}
	err = call(ctx, conn)
	took := time.Since(start)
	answered = err == nil || conn.answered()
	unproven := false
	if err == nil {
		r.health.took(took)
		err = r.after(ctx, link, ask, before)
		unproven = err != nil
	}
	v := resultOf(ctx, err, took, r.health.patience())
	p.assess(r, v, probe)
	if conn.sent() {
		p.metrics.attempt(ctx, ask.Model, took, v, err)
	}
	if err == nil {
		p.budget.Success()
		return stay, nil
	}
	switch {
	case v == exchanged || unproven && v == unreachable:
		return free, err
	case !meaningOf(err).again(conn.answered()):
		return stay, err
	case !conn.sent() || v == unreachable:
		return free, err
	}
	r.missing.note(ask.Model)
	return withinBudget, err
}

// before makes sure that the server holds what the inference is for. One that
// must be proven begins with a fresh answer.
func (r *Replica) before(ctx context.Context, l *link, ask Ask) (sighting, error) {
	if ask.Holds == (Holding{}) {
		return sighting{}, nil
	}
	now, since := time.Now(), time.Time{}
	if ask.Proven {
		since = now.Add(-freshFor)
	}
	s, err := l.sight(ctx, ask.Holds.Model, since)
	if err == nil && s.identity != ask.Holds.Identity { // it may be back
		s, err = l.sight(ctx, ask.Holds.Model, now)
	}
	if err == nil && s.identity != ask.Holds.Identity {
		err = r.Exchanged(ask)
	}
	return s, err
}

// after proves an answer: the server that gave it held before, and holds now,
// what the inference is for. An answer that cannot be proven is dropped.
func (r *Replica) after(ctx context.Context, l *link, ask Ask, before sighting) error {
	if !ask.Proven {
		return nil
	}
	s, err := l.sight(ctx, ask.Holds.Model, time.Now())
	if err == nil && (s.identity != before.identity || s.begun != before.begun) {
		err = r.Exchanged(ask)
	}
	return err
}

// Exchanged is the error that r holds something else than is asked for.
func (r *Replica) Exchanged(ask Ask) error {
	return quality.Errorf(quality.KindModelUnavailable,
		"the encoder was exchanged: %s is not the one any more that this request began with", ask.Holds.Model).
		Because(&Error{Replica: r.addr, Err: errExchanged}).After(RetryAfter)
}
