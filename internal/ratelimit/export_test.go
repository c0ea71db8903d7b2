package ratelimit

// Len is the number of buckets.
func (l *Limiter) Len() int { return len(l.byFull) }
