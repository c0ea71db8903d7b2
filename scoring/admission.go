package scoring

import (
	"context"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// admission is a bounded queue in front of bounded concurrency: a full queue
// refuses at once, a place in it waits for its turn or its context.
type admission struct {
	places     chan struct{} // held by everybody, waiting or working
	turns      chan struct{} // held by the working
	retryAfter time.Duration
}

func newAdmission(concurrency, queue int, retryAfter time.Duration) *admission {
	return &admission{
		places:     make(chan struct{}, concurrency+queue),
		turns:      make(chan struct{}, concurrency),
		retryAfter: retryAfter,
	}
}

// acquire returns a function that gives the turn back. It fails with
// overloaded when the queue is full, or with the context's error.
func (a *admission) acquire(ctx context.Context) (release func(), err error) {
	select {
	case a.places <- struct{}{}:
	default:
		return nil, quality.Errorf(quality.KindOverloaded, "too many requests are waiting already").After(a.retryAfter)
	}
	select {
	case a.turns <- struct{}{}:
		return func() { <-a.turns; <-a.places }, nil
	case <-ctx.Done():
		<-a.places
		return nil, context.Cause(ctx)
	}
}
