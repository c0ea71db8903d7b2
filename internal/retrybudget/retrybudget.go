// Package retrybudget bounds second attempts to a share of the successes, so
// that whatever is retried cannot make an overload worse.
//
// It is the token bucket of gRPC's retry throttling (proposal A6). It decides
// nothing about what may be retried: that is its callers' business.
package retrybudget

import "sync"

// The bucket of gRPC A6: ten tokens, a tenth of one back for every success. A
// second attempt needs more than half of the tokens.
const (
	capacity = 10
	ratio    = 0.1
)

// Budget is full at first. It is safe for concurrent use.
type Budget struct {
	mu    sync.Mutex
	spent float64
}

// Success gives a part of a token back.
func (b *Budget) Success() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = max(0, b.spent-ratio)
}

// Failure takes a token, and reports whether the failed work may be tried
// again.
func (b *Budget) Failure() (again bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.spent = min(capacity, b.spent+1)
	return b.spent < capacity/2.0
}
