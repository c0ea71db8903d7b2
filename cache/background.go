package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// errDropped says that a write was not attempted.
var errDropped = errors.New("cache: too many writes in progress")

// background runs work that nobody waits for: a bounded number at a time, each
// with its own timeout.
type background struct {
	timeout time.Duration
	slots   chan struct{}

	mu      sync.Mutex
	closed  bool
	running sync.WaitGroup
}

func newBackground(most int, timeout time.Duration) *background {
	return &background{timeout: timeout, slots: make(chan struct{}, most)}
}

// start runs work soon, with ctx's values but not its end. It never waits: the
// work is refused when there is too much of it.
func (b *background) start(ctx context.Context, work func(context.Context)) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return fmt.Errorf("%w: closed", errDropped)
	}
	select {
	case b.slots <- struct{}{}:
	default:
		return errDropped
	}
	b.running.Go(func() {
		defer func() { <-b.slots }()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.timeout)
		defer cancel()
		work(ctx)
	})
	return nil
}

// close refuses new work and waits for what is under way, which its timeout
// bounds, or for ctx.
func (b *background) close(ctx context.Context) error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	if err := wait(ctx, &b.running); err != nil {
		return fmt.Errorf("writes did not finish: %w", err)
	}
	return nil
}
