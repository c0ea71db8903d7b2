package tritonclient

import (
	"context"
	"sync"

	"github.com/agiqa/agiqa/quality"
)

// flights counts inferences on their way and bounds them. An inference counts
// until Triton answered or its deadline passed, whether or not its caller
// still waits: otherwise impatient clients could pile up work without limit.
type flights struct {
	max int

	mu        sync.Mutex
	running   int
	abandoned int
	closed    bool
	idle      chan struct{} // closed when running falls to 0; nil while nobody waits
}

func newFlights(max int) *flights { return &flights{max: max} }

// flight is one inference. land and abandon may be called from two goroutines.
type flight struct {
	of     *flights
	landed bool // guarded by of.mu
	left   bool
}

// take starts a flight, or says why not: an error of kind draining or
// overloaded.
func (f *flights) take() (*flight, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		return nil, quality.Errorf(quality.KindDraining, "the server is shutting down")
	case f.running >= f.max:
		return nil, quality.Errorf(quality.KindOverloaded,
			"too many inferences are in flight").After(retryAfter)
	}
	f.running++
	return &flight{of: f}, nil
}

// land ends the flight.
func (l *flight) land() {
	f := l.of
	f.mu.Lock()
	defer f.mu.Unlock()
	l.landed = true
	f.running--
	if l.left {
		f.abandoned--
	}
	if f.running == 0 && f.idle != nil {
		close(f.idle)
		f.idle = nil
	}
}

// abandon says that nobody waits for the flight any more.
func (l *flight) abandon() {
	f := l.of
	f.mu.Lock()
	defer f.mu.Unlock()
	if !l.landed {
		l.left = true
		f.abandoned++
	}
}

func (f *flights) count() (running, abandoned int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.running, f.abandoned
}

// drain refuses further flights and waits as wait does.
func (f *flights) drain(ctx context.Context) {
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	f.wait(ctx)
}

// wait returns when no flight is left or ctx ends.
func (f *flights) wait(ctx context.Context) {
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
