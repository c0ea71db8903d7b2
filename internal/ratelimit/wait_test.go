package ratelimit_test

import (
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/ratelimit"
)

// TestWaitTakesNothing: asking how long it would take changes nothing, not even
// which keys are remembered.
func TestWaitTakesNothing(t *testing.T) {
	now := time.Unix(1000, 0)
	l := ratelimit.New(ratelimit.Config{PerSecond: 1, Burst: 2, Keys: 2}, func() time.Time { return now })
	for range 10 {
		if wait := l.Wait("a"); wait != 0 {
			t.Fatalf("a key that was never seen waits %s", wait)
		}
	}
	for n := range 2 {
		if wait := l.Take("a"); wait != 0 {
			t.Fatalf("token %d: wait %s", n, wait)
		}
	}
	for range 10 {
		if wait := l.Wait("a"); wait != time.Second {
			t.Fatalf("wait %s, want 1s", wait)
		}
	}
	for _, stranger := range []string{"b", "c", "d"} {
		l.Wait(stranger)
	}
	if wait := l.Wait("a"); wait != time.Second {
		t.Errorf("after strangers: wait %s, want 1s", wait)
	}
	now = now.Add(time.Second)
	if wait := l.Wait("a"); wait != 0 {
		t.Errorf("a second later: wait %s", wait)
	}
}
