// Package ratelimit limits how often each of many callers may do something: a
// token bucket per key, for a bounded number of keys.
//
// It knows keys by their SHA-256 only, so no credential stays in memory. It
// refuses nobody by itself: the caller decides what a wait means.
package ratelimit

import (
	"container/list"
	"crypto/sha256"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Config is the same for every key.
type Config struct {
	PerSecond float64 // tokens a key gets back in a second
	Burst     int     // tokens a key can save up
	Keys      int     // keys remembered; the least recently used one is forgotten first
}

// Limiter holds one token bucket per key. It's safe for concurrent use.
type Limiter struct {
	cfg Config
	now func() time.Time

	mu      sync.Mutex
	recent  *list.List // of *bucket, the most recent first
	buckets map[[sha256.Size]byte]*list.Element
}

type bucket struct {
	key  [sha256.Size]byte
	rate *rate.Limiter
}

// New makes a limiter that reads the time from now.
func New(cfg Config, now func() time.Time) *Limiter {
	return &Limiter{cfg: cfg, now: now, recent: list.New(), buckets: map[[sha256.Size]byte]*list.Element{}}
}

// Take takes a token of key and returns 0, or takes none and returns how long
// it will be until there is one.
func (l *Limiter) Take(key string) time.Duration {
	b := l.bucket(sha256.Sum256([]byte(key)))
	now := l.now()
	reservation := b.rate.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	if wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

// bucket finds or makes the bucket of a key. To forget a key only ever lets
// more through.
func (l *Limiter) bucket(key [sha256.Size]byte) *bucket {
	l.mu.Lock()
	defer l.mu.Unlock()
	if e := l.buckets[key]; e != nil {
		l.recent.MoveToFront(e)
		return e.Value.(*bucket)
	}
	if l.recent.Len() >= l.cfg.Keys {
		oldest := l.recent.Remove(l.recent.Back()).(*bucket)
		delete(l.buckets, oldest.key)
	}
	b := &bucket{key: key, rate: rate.NewLimiter(rate.Limit(l.cfg.PerSecond), l.cfg.Burst)}
	l.buckets[key] = l.recent.PushFront(b)
	return b
}
