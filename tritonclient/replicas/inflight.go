package replicas

import (
	"context"
	"sync"

	"github.com/agiqa/agiqa/quality"
)

// inFlight counts inferences on their way and bounds them. An inference counts
// until Triton answered or its deadline passed, whether or not its caller
// still waits: otherwise impatient clients could pile up work without limit.
type inFlight struct {
	max int

	mu        sync.Mutex
	running   int
	abandoned int
	closed    bool
	idle      chan struct{} // closed when running falls to 0; nil while nobody waits
}

func newInFlight(max int) *inFlight { return &inFlight{max: max} }

// inFlightCall is one inference. end and abandon may be called from two goroutines.
type inFlightCall struct {
	of    *inFlight
	ended bool // guarded by of.mu
	left  bool
}

// take starts a call, or says why not: an error of kind draining or
// overloaded.
func (f *inFlight) take() (*inFlightCall, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, quality.Errorf(quality.KindDraining, "the server is shutting down")
	case f.running >= f.max:
		return nil, quality.Errorf(quality.KindOverloaded,
			"too many inferences are in flight").After(RetryAfter)
	}
	f.running++
	return &inFlightCall{of: f}, nil
}

// end ends the call.
func (l *inFlightCall) end() {
	f := l.of
	f.mu.Lock()
	defer f.mu.Unlock()
	l.ended = true
	f.running--
	if l.left {
		f.abandoned--
	}
	if f.running == 0 && f.idle != nil {
		close(f.idle)
		f.idle = nil
	}
}

// abandon says that nobody waits for the call any more.
func (l *inFlightCall) abandon() {
	f := l.of
	f.mu.Lock()
	defer f.mu.Unlock()
	if !l.ended {
		l.left = true
		f.abandoned++
	}
}

func (f *inFlight) count() (running, abandoned int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running, f.abandoned
}

// close refuses further calls.
func (f *inFlight) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
}

// wait returns when no call is left or ctx ends.
func (f *inFlight) wait(ctx context.Context) {
	f.mu.Lock()
	if f.running == 0 {
		f.mu.Unlock()
		return
	}
	if f.idle == nil {
		f.idle = make(chan struct{})
	}
	idle := f.idle
	f.mu.Unlock()
	select {
	case <-idle:
	case <-ctx.Done():
	}
}
