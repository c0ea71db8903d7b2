package load

import (
	"context"
	"time"
)

// timerGrain is how late a runtime timer may fire on an idle machine: the
// poller of the runtime sleeps in whole milliseconds.
const timerGrain = 2 * time.Millisecond

// Roughly waits by a runtime timer. It is up to a millisecond late, and the
// clock of testing/synctest moves it.
func Roughly(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// Precisely waits by a runtime timer until shortly before, and then in the
// kernel, which is some 50 microseconds late.
func Precisely(ctx context.Context, d time.Duration) {
	if d > timerGrain {
		Roughly(ctx, d-timerGrain)
		return // whoever waits looks at the clock again
	}
	nanosleep(d)
}
