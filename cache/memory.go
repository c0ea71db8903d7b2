package cache

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/maypok86/otter/v2"
	"github.com/maypok86/otter/v2/stats"
)

// MemoryConfig bounds a [Memory].
type MemoryConfig struct {
	// BudgetBytes is the most that keys and values together may take. The
	// store's own administration, some 150 bytes an entry, comes on top.
	BudgetBytes int64
	// MaxValueBytes is the largest value that is kept.
	MaxValueBytes int
}

// DefaultMemoryConfig returns 64 MiB: 30,000 image embeddings of 512 numbers.
func DefaultMemoryConfig() MemoryConfig {
	return MemoryConfig{BudgetBytes: 64 << 20, MaxValueBytes: 256 << 10}
}

// Validate reports every fault at once, each naming its field.
func (c MemoryConfig) Validate() error {
	var faults []error
	if c.BudgetBytes <= 0 {
		faults = append(faults, fmt.Errorf("BudgetBytes is %d, must be positive", c.BudgetBytes))
	}
	if c.MaxValueBytes <= 0 || c.MaxValueBytes > math.MaxInt32 {
		faults = append(faults, fmt.Errorf("MaxValueBytes is %d, must be positive and below 2 GiB", c.MaxValueBytes))
	} else if int64(c.MaxValueBytes) > c.BudgetBytes {
		faults = append(faults, fmt.Errorf("MaxValueBytes is %d, above BudgetBytes %d", c.MaxValueBytes, c.BudgetBytes))
	}
	return errors.Join(faults...)
}

// MemoryStats is a moment's view of a [Memory].
type MemoryStats struct {
	Entries   int
	Bytes     int64 // keys and values
	Budget    int64 // what Bytes is held to
	Hits      uint64
	Misses    uint64
	Evictions uint64 // entries that went to make room or because their time had passed
}

// Memory is a [Store] in this process, held to a budget in bytes. What is
// asked for often stays (W-TinyLFU): a burst of keys that are seen once does
// not push out the ones in use.
type Memory struct {
	cache    *otter.Cache[string, memoryEntry]
	maxValue int
}

type memoryEntry struct {
	value []byte
	ttl   time.Duration
}

// NewMemory returns an empty Memory, which must be closed.
func NewMemory(config MemoryConfig) (*Memory, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("memory cache: %w", err)
	}
	c, err := otter.New(&otter.Options[string, memoryEntry]{
		MaximumWeight: uint64(config.BudgetBytes),
		Weigher: func(key string, e memoryEntry) uint32 {
			return uint32(min(len(key)+len(e.value), math.MaxUint32))
		},
		ExpiryCalculator: otter.ExpiryWritingFunc(func(e otter.Entry[string, memoryEntry]) time.Duration {
			return e.Value.ttl
		}),
		StatsRecorder: stats.NewCounter(),
	})
	if err != nil {
		return nil, fmt.Errorf("memory cache: %w", err)
	}
	return &Memory{cache: c, maxValue: config.MaxValueBytes}, nil
}

// Get implements [Store].
func (m *Memory) Get(_ context.Context, key string) ([]byte, error) {
	e, ok := m.cache.GetIfPresent(key)
	if !ok {
		return nil, ErrNotFound
	}
	return e.value, nil
}

// Set implements [Store].
func (m *Memory) Set(_ context.Context, key string, value []byte, ttl time.Duration) error {
	if err := checkSet(value, ttl, m.maxValue); err != nil {
		return err
	}
	m.cache.Set(key, memoryEntry{value: slices.Clone(value), ttl: ttl})
	return nil
}

// Delete implements [Store].
func (m *Memory) Delete(_ context.Context, key string) error {
	m.cache.Invalidate(key)
	return nil
}

// Stats settles what is pending, evictions above all, and returns the result.
func (m *Memory) Stats() MemoryStats {
	m.cache.CleanUp()
	s := m.cache.Stats()
	return MemoryStats{
		Entries:   m.cache.EstimatedSize(),
		Bytes:     int64(m.cache.WeightedSize()),
		Budget:    int64(m.cache.GetMaximum()),
		Hits:      s.Hits,
		Misses:    s.Misses,
		Evictions: s.Evictions,
	}
}

// Close stops the goroutine that removes expired entries and forgets
// everything. A closed Memory still answers, but only expires what is asked
// for.
func (m *Memory) Close() error {
	m.cache.StopAllGoroutines()
	m.cache.InvalidateAll()
	return nil
}
