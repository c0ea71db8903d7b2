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

// group coalesces concurrent calls for the same key: the work runs once, and
// every caller gets its result.
//
// A call belongs to none of its callers: it keeps the trace of the first one,
// but not its cancellation or deadline, and ends after the group's timeout at
// the latest. Each caller waits on its own context. The result is shared, also
// an error or a panic, and isn't kept.
type group[V any] struct {
	timeout time.Duration

	mu      sync.Mutex
	calls   map[string]*call[V]
	closed  bool
	running sync.WaitGroup
}

// call is one run of the work.
type call[V any] struct {
	cancel context.CancelFunc
	done   chan struct{} // closed when value and err are set
	value  V
	err    error
}

// errClosed is the error of a closed group.
var errClosed = errors.New("cache: closed")

// do returns what work returns, from the call in progress or a new one.
func (g *group[V]) do(ctx context.Context, key string, work func(context.Context) (V, error)) (V, error) {
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

func (g *group[V]) join(ctx context.Context, key string, work func(context.Context) (V, error)) (*call[V], error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if f := g.calls[key]; f != nil {
		return f, nil
	}
	if g.closed {
		return nil, errClosed
	}
	detached, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.timeout)
	f := &call[V]{cancel: cancel, done: make(chan struct{})}
	if g.calls == nil {
		g.calls = make(map[string]*call[V])
	}
	g.calls[key] = f
	g.running.Go(func() { g.run(detached, key, f, work) })
	return f, nil
}

func (g *group[V]) run(ctx context.Context, key string, f *call[V], work func(context.Context) (V, error)) {
	// The error if work ends without returning (runtime.Goexit).
	f.err = quality.Errorf(quality.KindInternal, "the work was abandoned")
	defer func() {
		if p := recover(); p != nil {
			f.err = quality.Errorf(quality.KindInternal, "the work failed unexpectedly").
				Because(fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
		g.mu.Lock()
		delete(g.calls, key)
		g.mu.Unlock()
		f.cancel()
		close(f.done)
	}()
	f.value, f.err = work(ctx)
}

// close rejects new calls and waits for those in progress; when ctx ends first,
// it cancels them and returns.
func (g *group[V]) close(ctx context.Context) error {
	g.mu.Lock()
	g.closed = true
	g.mu.Unlock()
	if err := wait(ctx, &g.running); err == nil {
		return nil
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, f := range g.calls {
		f.cancel()
	}
	return fmt.Errorf("%d calls in progress were cancelled: %w", len(g.calls), ctx.Err())
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
