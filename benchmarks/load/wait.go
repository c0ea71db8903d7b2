package load

import (
	"context"
	"time"
)

// Roughly waits by a runtime timer. It is up to a millisecond late, because
// the poller of the runtime sleeps in whole milliseconds, and the clock of
// testing/synctest moves it.
func Roughly(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
