package cache

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// clock is a time that moves when the test says so.
type clock struct{ t time.Time }

func (c *clock) now() time.Time          { return c.t }
func (c *clock) advance(d time.Duration) { c.t = c.t.Add(d) }

func newTestBreaker() (*breaker, *clock) {
	c := &clock{t: time.Unix(1000, 0)}
	return &breaker{threshold: 3, interval: time.Second, now: c.now}, c
}

// ask admits and reports one operation.
func ask(t *testing.T, b *breaker, o outcome) change {
	t.Helper()
	a, ok := b.admit()
	if !ok {
		t.Fatal("not admitted")
	}
	return b.report(a, o)
}

func trip(t *testing.T, b *breaker) {
	t.Helper()
	for range b.threshold {
		ask(t, b, failed)
	}
	if !b.isOpen() {
		t.Fatalf("closed after %d failures", b.threshold)
	}
}

func TestBreakerOpens(t *testing.T) {
	for _, test := range []struct {
		name     string
		outcomes []outcome
		wantOpen bool
	}{
		{"nothing", nil, false},
		{"one failure less than the threshold", []outcome{failed, failed}, false},
		{"failures in a row", []outcome{failed, failed, failed}, true},
		{"a success between", []outcome{failed, failed, healthy, failed, failed}, false},
		{"a caller who left between", []outcome{failed, failed, unknown, failed}, true},
		{"only callers who left", []outcome{unknown, unknown, unknown, unknown}, false},
		{"successes before", []outcome{healthy, healthy, failed, failed, failed}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, _ := newTestBreaker()
			var last change
			for _, o := range test.outcomes {
				last = ask(t, b, o)
			}
			if b.isOpen() != test.wantOpen || (last == opened) != test.wantOpen {
				t.Errorf("open = %t, last change = %d; want open = %t", b.isOpen(), last, test.wantOpen)
			}
			if _, ok := b.admit(); ok == test.wantOpen {
				t.Errorf("admitted = %t, want %t", ok, !test.wantOpen)
			}
		})
	}
}

func TestBreakerProbes(t *testing.T) {
	for _, test := range []struct {
		name       string
		probe      outcome
		wantChange change
		wantOpen   bool
	}{
		{"success closes", healthy, closed, false},
		{"failure keeps it open", failed, probeFailed, true},
		{"a caller who left tells nothing", unknown, unchanged, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			b, c := newTestBreaker()
			trip(t, b)
			c.advance(time.Second - 1)
			if _, ok := b.admit(); ok {
				t.Fatal("admitted before the interval was over")
			}
			c.advance(1)
			probe, ok := b.admit()
			if !ok {
				t.Fatal("no probe after the interval")
			}
			c.advance(time.Hour)
			if _, ok := b.admit(); ok {
				t.Fatal("a second probe beside one that has not returned")
			}
			if got := b.report(probe, test.probe); got != test.wantChange || b.isOpen() != test.wantOpen {
				t.Errorf("change = %d, open = %t; want %d, %t", got, b.isOpen(), test.wantChange, test.wantOpen)
			}
		})
	}
}

func TestBreakerProbesOncePerInterval(t *testing.T) {
	b, c := newTestBreaker()
	trip(t, b)
	for interval := range 5 {
		c.advance(time.Second)
		var admitted atomic.Int32
		var group sync.WaitGroup
		for range 50 {
			group.Go(func() {
				if a, ok := b.admit(); ok {
					admitted.Add(1)
					b.report(a, failed)
				}
			})
		}
		group.Wait()
		if got := admitted.Load(); got != 1 {
			t.Errorf("interval %d: %d probes, want 1", interval, got)
		}
	}
}

func TestBreakerStartsAfreshWhenItCloses(t *testing.T) {
	b, c := newTestBreaker()
	trip(t, b)
	c.advance(time.Second)
	ask(t, b, healthy)
	ask(t, b, failed)
	ask(t, b, failed)
	if b.isOpen() {
		t.Error("failures from before count again")
	}
}

func TestBreakerIgnoresLateReports(t *testing.T) {
	b, c := newTestBreaker()
	slow, _ := b.admit()
	trip(t, b)
	if got := b.report(slow, healthy); got != unchanged || !b.isOpen() {
		t.Errorf("a success from before the outage: change = %d, open = %t; want none, open", got, b.isOpen())
	}
	c.advance(time.Second)
	late, _ := b.admit() // the probe
	b.report(late, healthy)
	for range 5 {
		if got := b.report(late, failed); got != unchanged {
			t.Fatalf("a failure from before the recovery: change = %d, want none", got)
		}
	}
	if b.isOpen() {
		t.Error("opened by failures from before the recovery")
	}
}
