package cache

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// flights runs the same work once for everybody who wants it at the same time.
//
// A flight belongs to none of its callers: it keeps the first one's trace, but
// not its cancellation nor its deadline, and ends by its own timeout at the
// latest. Each caller waits on its own context. The result is shared, an error
// and a panic included, and forgotten at once.
type flights[V any] struct {
	timeout time.Duration

	mu      sync.Mutex
	flying  map[string]*flight[V]
	closed  bool
	running sync.WaitGroup
}

type flight[V any] struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when value and err are set
	value  V
	err    error
}

// errFlightsClosed says that no new work is begun.
var errFlightsClosed = errors.New("cache: closed")

// do returns what work returns, from a flight that is under way or a new one.
func (g *flights[V]) do(ctx context.Context, key string, work func(context.Context) (V, error)) (V, error) {
	f, err := g.join(ctx, key, work)
	if err != nil {
		var none V
		return none, err
	}
	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		var none V
		return none, ctx.Err()
	}
}

func (g *flights[V]) join(ctx context.Context, key string, work func(context.Context) (V, error)) (*flight[V], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.flying[key]; f != nil {
		return f, nil
	}
	if g.closed {
		return nil, errFlightsClosed
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.timeout)
	f := &flight[V]{cancel: cancel, done: make(chan struct{})}
	if g.flying == nil {
		g.flying = make(map[string]*flight[V])
	}
	g.flying[key] = f
	g.running.Go(func() { g.run(detached, key, f, work) })
	return f, nil
}

func (g *flights[V]) run(ctx context.Context, key string, f *flight[V], work func(context.Context) (V, error)) {
	// What a goroutine that ends without returning (runtime.Goexit) leaves.
	f.err = quality.Errorf(quality.KindInternal, "the work was abandoned")
	defer func() {
		if p := recover(); p != nil {
			f.err = quality.Errorf(quality.KindInternal, "the work failed unexpectedly").
				Because(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		g.mu.Lock()
		delete(g.flying, key)
		g.mu.Unlock()
		f.cancel()
		close(f.done)
	}()
	f.value, f.err = work(ctx)
}

// close lets no new flight begin and waits for those under way; when ctx ends
// first, it cancels them and returns.
func (g *flights[V]) close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	if err := wait(ctx, &g.running); err == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.flying {
		f.cancel()
	}
	return fmt.Errorf("%d of its flights were cancelled: %w", len(g.flying), ctx.Err())
}

// wait waits for group or ctx, whichever ends first.
func wait(ctx context.Context, group *sync.WaitGroup) error {
	done := make(chan struct{})
	go func() {
		defer close(done)
		group.Wait()
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
