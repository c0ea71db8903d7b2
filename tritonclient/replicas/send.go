package replicas

import (
	"context"
	"time"

	"google.golang.org/grpc"
)

// Call is one inference over conn. It returns gRPC's own error, or a
// *[quality.Error] of kind model_bad_output if the reply must not be believed.
type Call func(ctx context.Context, conn grpc.ClientConnInterface) error

// Do makes one inference on whichever replica is next, and makes it once more
// on another one where the first refused it, was not reached or died with it:
// an inference changes nothing on a server. What an absent server left undone
// costs no living one anything; what a living one refused is sent again within
// the budget of second attempts only.
//
// The call has until deadline. When ctx is cancelled, Do returns at once and
// the call runs on to its own end: cancelling a call under way can crash
// servers before 24.12, and would not stop a model that has begun to compute.
// What the call writes may be read only if Do returns nil.
func (p *Pool) Do(ctx context.Context, deadline time.Time, model string, call Call) error {
	return p.detach(ctx, deadline, model, func(ctx context.Context) error {
		r, probe := p.choose(model, nil, true)
		if r == nil {
			return p.noReplica()
		}
		again, err := r.attempt(ctx, probe, model, call)
		if err == nil || again == stay {
			return r.Failure(ctx, model, err)
		}
		other, probe := p.choose(model, r, true)
		if other == nil {
			return r.Failure(ctx, model, err)
		}
		if again == withinBudget && !p.budget.Failure() {
			p.metrics.retry(ctx, "no_budget")
			if probe {
				p.assess(other, inconclusive, true)
			}
			return r.Failure(ctx, model, err)
		}
		p.metrics.retry(ctx, "sent")
		_, err = other.attempt(ctx, probe, model, call)
		return other.Failure(ctx, model, err)
	})
}

// Do is [Pool.Do] on this replica and no other.
func (r *Replica) Do(ctx context.Context, deadline time.Time, model string, call Call) error {
	return r.pool.detach(ctx, deadline, model, func(ctx context.Context) error {
		_, err := r.attempt(ctx, false, model, call)
		return r.Failure(ctx, model, err)
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
	free                   // the server is not there, is leaving, or died
)

// attempt makes the call on r once and lets what happened count for or against
// r.
func (r *Replica) attempt(ctx context.Context, probe bool, model string, call Call) (elsewhere, error) {
	p := r.pool
	r.outstanding.Add(1)
	defer r.outstanding.Add(-1)
	start := time.Now()
	if err := r.verify(ctx); err != nil {
		v := unreachable
		if ctx.Err() != nil {
			v = resultOf(ctx, err, time.Since(start), r.health.patience())
		}
		p.assess(r, v, probe)
		return free, err
	}
	conn := &observed{ClientConnInterface: r.Conn()}
	err := call(ctx, conn)
	took := time.Since(start)
	v := resultOf(ctx, err, took, r.health.patience())
	if err == nil {
		r.health.took(took)
	}
	p.assess(r, v, probe)
	if conn.sent() {
		p.metrics.attempt(ctx, model, took, v, err)
	}
	if err == nil {
		p.budget.Success()
		return stay, nil
	}
	switch {
	case !meaningOf(err).again(conn.answered()):
		return stay, err
	case !conn.sent() || v == unreachable:
		return free, err
	}
	r.missing.note(model)
	return withinBudget, err
}
