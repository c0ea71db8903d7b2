// Package ratelimit limits how much each of many callers may do: a token bucket
// per key, for a bounded number of keys.
//
// It knows keys by their SHA-256 only, so no credential stays in memory. It
// refuses nobody by itself: the caller decides what a wait means.
package ratelimit

import (
	"container/heap"
	"crypto/sha256"
	"math"
	"sync"
	"time"
)

// Config is the same for every key.
type Config struct {
	PerSecond float64 // tokens a key gets back in a second
	Burst     int     // tokens a key can save up
	// Keys bounds the buckets. A full one, which is as good as none, is forgotten
	// first, then the one that is full soonest: whoever owes most is remembered
	// longest, however many others come.
	Keys int
}

// Limiter holds one token bucket per key. It's safe for concurrent use.
type Limiter struct {
	cfg   Config
	now   func() time.Time
	start time.Time

	mu      sync.Mutex
	buckets map[[sha256.Size]byte]*bucket
	byFull  fullness
}

// bucket is known by the time at which it will be full, if nothing is taken
// before (generic cell rate algorithm).
type bucket struct {
	key  [sha256.Size]byte
	full float64 // in seconds since the limiter was made
	at   int     // in byFull
}

// New makes a limiter that reads the time from now.
func New(cfg Config, now func() time.Time) *Limiter {
	return &Limiter{cfg: cfg, now: now, start: now(), buckets: map[[sha256.Size]byte]*bucket{}}
}

// Take takes a token of key and returns 0, or takes none and returns how long
// it will be until there is one.
func (l *Limiter) Take(key string) time.Duration { return l.TakeCost(key, 1) }

// TakeCost is Take for a number of tokens. More than a bucket holds are had for a
// full one, which owes the rest.
func (l *Limiter) TakeCost(key string, tokens float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, id := l.clock(), sha256.Sum256([]byte(key))
	if wait := l.wait(id, now, tokens); wait > 0 {
		return wait
	}
	l.spend(id, now, tokens)
	return 0
}

// Charge takes tokens whether or not there are any, and returns how long it will
// be until none is owed.
func (l *Limiter) Charge(key string, tokens float64) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	now, id := l.clock(), sha256.Sum256([]byte(key))
	l.spend(id, now, tokens)
	return l.wait(id, now, 0)
}

// Wait returns how long it will be until key has a token, and takes none.
func (l *Limiter) Wait(key string) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.wait(sha256.Sum256([]byte(key)), l.clock(), 1)
}

func (l *Limiter) wait(id [sha256.Size]byte, now, tokens float64) time.Duration {
	b := l.buckets[id]
	if b == nil {
		return 0
	}
	burst := float64(l.cfg.Burst)
	missing := b.full - now - (burst-min(tokens, burst))/l.cfg.PerSecond
	const longest = 1e9 // a Duration has an end
	return time.Duration(math.Round(min(max(0, missing), longest)*1e6)) * time.Microsecond
}

// clock is the time in seconds since the limiter was made.
func (l *Limiter) clock() float64 { return l.now().Sub(l.start).Seconds() }

func (l *Limiter) spend(id [sha256.Size]byte, now, tokens float64) {
	if tokens <= 0 {
		return
	}
	b := l.buckets[id]
	if b == nil {
		if len(l.byFull) >= l.cfg.Keys {
			first := heap.Pop(&l.byFull).(*bucket)
			delete(l.buckets, first.key)
		}
		b = &bucket{key: id, full: now}
		l.buckets[id] = b
		heap.Push(&l.byFull, b)
	}
	b.full = max(b.full, now) + tokens/l.cfg.PerSecond
	heap.Fix(&l.byFull, b.at)
}

// fullness is a heap of buckets, the one that is full first at its top.
type fullness []*bucket

func (f fullness) Len() int           { return len(f) }
func (f fullness) Less(i, j int) bool { return f[i].full < f[j].full }

func (f fullness) Swap(i, j int) {
	f[i], f[j] = f[j], f[i]
	f[i].at, f[j].at = i, j
}

func (f *fullness) Push(x any) {
	b := x.(*bucket)
	b.at = len(*f)
	*f = append(*f, b)
}

func (f *fullness) Pop() any {
	last := len(*f) - 1
	b := (*f)[last]
	(*f)[last], *f = nil, (*f)[:last]
	return b
}
