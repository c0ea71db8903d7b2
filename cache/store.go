package cache

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Store keeps bytes by key for a time. Its methods may be called from many
// goroutines at once.
//
// A store may forget anything at any moment. It never returns bytes that were
// not Set under that key, as far as it can tell: whoever reads verifies.
type Store interface {
	// Get returns the value of key, which the caller must not modify, or
	// [ErrNotFound] when there is none or its time has passed. Any other error
	// means that the store could not tell.
	Get(ctx context.Context, key string) ([]byte, error)

	// Set keeps a copy of value for ttl, in place of what key held. The value
	// must not be empty nor above the store's limit ([ErrValueSize]), and ttl
	// must be positive ([ErrTTL]).
	Set(ctx context.Context, key string, value []byte, ttl time.Duration) error

	// Delete forgets key. It is no error when there is nothing to forget.
	Delete(ctx context.Context, key string) error
}

var (
	// ErrNotFound says that the store has no such key.
	ErrNotFound = errors.New("cache: not found")

	// ErrUnavailable says, at once and without asking the server, that it did
	// not answer lately.
	ErrUnavailable = errors.New("cache: server unavailable")

	// ErrValueSize says that a value, to be written or found, is empty or
	// above the store's limit.
	ErrValueSize = errors.New("cache: value size out of bounds")

	// ErrTTL says that a time to live was not positive.
	ErrTTL = errors.New("cache: time to live must be positive")
)

// checkSet reports what Set refuses in every store.
func checkSet(value []byte, ttl time.Duration, maxBytes int) error {
	if ttl <= 0 {
		return fmt.Errorf("%w, got %s", ErrTTL, ttl)
	}
	if len(value) == 0 || len(value) > maxBytes {
		return fmt.Errorf("%w: %d bytes, want 1 to %d", ErrValueSize, len(value), maxBytes)
	}
	return nil
}
