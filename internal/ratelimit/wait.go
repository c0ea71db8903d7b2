package ratelimit

import (
	"crypto/sha256"
	"time"
)

// Wait returns how long it will be until key has a token, and takes none. It
// doesn't make the limiter remember the key.
func (l *Limiter) Wait(key string) time.Duration {
	l.mu.Lock()
	e := l.buckets[sha256.Sum256([]byte(key))]
	l.mu.Unlock()
	if e == nil {
		return 0
	}
	now := l.now()
	reservation := e.Value.(*bucket).rate.ReserveN(now, 1)
	wait := reservation.DelayFrom(now)
	reservation.CancelAt(now)
	return wait
}
