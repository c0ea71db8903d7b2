package ratelimit_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/ratelimit"
)

// clock stands still until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func TestTake(t *testing.T) {
	c := &clock{at: time.Unix(1_000_000, 0)}
	l := ratelimit.New(ratelimit.Config{PerSecond: 2, Burst: 2, Keys: 2}, c.now)
	for _, step := range []struct {
		name    string
		advance time.Duration
		key     string
		want    time.Duration
	}{
		{name: "first of the burst", key: "a"},
		{name: "second of the burst", key: "a"},
		{name: "burst used up", key: "a", want: 500 * time.Millisecond},
		{name: "a refusal takes no token", key: "a", want: 500 * time.Millisecond},
		{name: "another key has its own bucket", key: "b"},
		{name: "half a token is back", advance: 250 * time.Millisecond, key: "a", want: 250 * time.Millisecond},
		{name: "one token is back", advance: 250 * time.Millisecond, key: "a"},
	} {
		c.at = c.at.Add(step.advance)
		if got := l.Take(step.key); got != step.want {
			t.Fatalf("%s: wait %s, want %s", step.name, got, step.want)
		}
	}
}

// What costs more than a bucket holds is had for a full one and owed; what was
// done already is charged whatever is left.
func TestDebt(t *testing.T) {
	c := &clock{at: time.Unix(1_000_000, 0)}
	l := ratelimit.New(ratelimit.Config{PerSecond: 2, Burst: 4, Keys: 2}, c.now)
	for _, step := range []struct {
		name    string
		advance time.Duration
		do      func() time.Duration
		want    time.Duration
	}{
		{"nobody owes at first", 0, func() time.Duration { return l.Wait("a") }, 0},
		{"ten tokens of a full bucket of four", 0, func() time.Duration { return l.TakeCost("a", 10) }, 0},
		{"six are owed, and one is wanted", 0, func() time.Duration { return l.Wait("a") }, 3500 * time.Millisecond},
		{"to ask takes nothing", 0, func() time.Duration { return l.Take("a") }, 3500 * time.Millisecond},
		{"nor does a refusal", 3500 * time.Millisecond, func() time.Duration { return l.Take("a") }, 0},
		{"ten more want a full bucket", 0, func() time.Duration { return l.TakeCost("a", 10) }, 2 * time.Second},
		{"a charge is never refused", 0, func() time.Duration { return l.Charge("a", 3) }, 1500 * time.Millisecond},
		{"and adds up", 0, func() time.Duration { return l.Charge("a", 1) }, 2 * time.Second},
		{"nothing costs nothing", 0, func() time.Duration { return l.Charge("a", 0) }, 2 * time.Second},
		{"others owe nothing", 0, func() time.Duration { return l.Charge("b", 4) }, 0},
		{"a bucket holds no more than it can", time.Hour,
			func() time.Duration { return l.Charge("a", 5) }, 500 * time.Millisecond},
	} {
		c.at = c.at.Add(step.advance)
		if got := step.do(); got != step.want {
			t.Fatalf("%s: wait %s, want %s", step.name, got, step.want)
		}
	}
}

// However many callers come, a debt is forgotten after those that are smaller, and
// full buckets go before all of them.
func TestManyCallersDoNotPushOutADebt(t *testing.T) {
	c := &clock{at: time.Unix(1_000_000, 0)}
	const keys = 100
	l := ratelimit.New(ratelimit.Config{PerSecond: 1, Burst: 10, Keys: keys}, c.now)
	l.Charge("debtor", 500)
	l.Charge("guest", 3)
	c.at = c.at.Add(4 * time.Second) // the guest's bucket is full again
	for i := range 10_000 {
		if wait := l.Take(fmt.Sprint("crowd", i)); wait > 0 {
			t.Fatalf("a caller that nobody knows waits %s", wait)
		}
		if n := l.Len(); n > keys {
			t.Fatalf("%d buckets, want %d at most", n, keys)
		}
	}
	if wait := l.Wait("debtor"); wait != 487*time.Second {
		t.Errorf("the debtor waits %s, want 487 s", wait)
	}
}

func TestTakeIsSafeForConcurrentUse(t *testing.T) {
	l := ratelimit.New(ratelimit.Config{PerSecond: 1e-9, Burst: 100, Keys: 4}, time.Now)
	granted := make(chan int)
	for range 8 {
		go func() {
			n := 0
			for range 50 {
				if l.Take("one") == 0 {
					n++
				}
			}
			granted <- n
		}()
	}
	sum := 0
	for range 8 {
		sum += <-granted
	}
	if sum != 100 {
		t.Errorf("%d tokens of a burst of 100 were given out", sum)
	}
}
