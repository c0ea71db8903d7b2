package ratelimit_test

import (
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
		{name: "a third key pushes out the least recent one, b", key: "c"},
		{name: "a is still known", key: "a", want: 500 * time.Millisecond},
		{name: "b starts anew and pushes out c", key: "b"},
		{name: "b, second of the burst", key: "b"},
		{name: "b is used up", key: "b", want: 500 * time.Millisecond},
	} {
		c.at = c.at.Add(step.advance)
		if got := l.Take(step.key); got != step.want {
			t.Fatalf("%s: wait %s, want %s", step.name, got, step.want)
		}
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
