package cache

import (
	"sync"
	"time"
)

// outcome is what an operation says about the server's health.
type outcome int

const (
	healthy outcome = iota // the server answered, be it with a refusal of this one command
	failed                 // it did not answer, or cannot serve anything now
	unknown                // the caller left before the server could answer
)

// breaker stops asking a server that has failed several times in a row. While
// it is open it lets one probe through per interval; the probe's success
// closes it.
//
// It is small enough to own: what counts as a failure, and that a caller who
// leaves is neither success nor failure, is the part that matters here.
type breaker struct {
	threshold int
	interval  time.Duration
	now       func() time.Time

	mu        sync.Mutex
	open      bool
	failures  int       // in a row, while closed
	nextProbe time.Time // while open
	probing   bool      // a probe is under way
	era       uint64    // counts changes of state, so that late reports are told apart
}

// permit is the right to one operation; it must be reported exactly once.
type permit struct {
	era   uint64
	probe bool
}

// change is what a report did to the breaker.
type change int

const (
	unchanged change = iota
	opened
	probeFailed
	closed
)

// admit reports whether the server may be asked now.
func (b *breaker) admit() (permit, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return permit{era: b.era}, true
	}
	now := b.now()
	if b.probing || now.Before(b.nextProbe) {
		return permit{}, false
	}
	b.probing = true
	b.nextProbe = now.Add(b.interval)
	return permit{era: b.era, probe: true}, true
}

// report takes the outcome of an admitted operation.
func (b *breaker) report(a permit, o outcome) change {
	b.mu.Lock()
	defer b.mu.Unlock()
	if a.era != b.era {
		return unchanged // begun before the last change of state: it says nothing about now
	}
	if a.probe {
		return b.reportProbe(o)
	}
	switch o {
	case healthy:
		b.failures = 0
	case failed:
		if b.failures++; b.failures >= b.threshold {
			b.open, b.nextProbe = true, b.now().Add(b.interval)
			b.era++
			return opened
		}
	}
	return unchanged
}

func (b *breaker) reportProbe(o outcome) change {
	b.probing = false
	switch o {
	case healthy:
		b.open, b.failures = false, 0
		b.era++
		return closed
	case failed:
		return probeFailed
	}
	return unchanged
}

// isOpen reports whether the server is being left alone.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}
