package imageprep

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"sync"

	"golang.org/x/sync/semaphore"
)

// memory is what all decodes together may take of the process: the shares of
// those under way, the buffers that are kept for the next, and what decodes left
// behind that the garbage collector has not freed yet. Before these are more
// than the budget it collects the garbage and gives it back to the system.
type memory struct {
	budget  int64
	shares  *semaphore.Weighted
	buffers *buffers
	cycles  func() uint64 // collections that ended
	collect func()

	mu    sync.Mutex
	used  int64 // shares of decodes under way
	cycle uint64
	// What decodes left behind, at most. A collection frees what was left before
	// it began, so that of garbage left between two of them it is known only
	// after one more that it is gone.
	young, old int64
}

func newMemory(budget int64, b *buffers) *memory {
	return &memory{
		budget: budget, shares: semaphore.NewWeighted(budget), buffers: b, cycles: gcCycles, collect: debug.FreeOSMemory,
	}
}

// acquire waits for a share, as long as ctx allows.
func (m *memory) acquire(ctx context.Context, share int64) error {
	if err := m.shares.Acquire(ctx, share); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.used += share
	m.age()
	if m.used+m.buffers.held()+m.young+m.old > m.budget {
		for _, p := range m.buffers.pools() {
			p.Drop()
		}
		m.collect()
		m.young, m.old = 0, 0
	}
	return nil
}

// release gives a share back. What it stands for is garbage by now, or a buffer
// that is kept.
func (m *memory) release(share int64) {
	m.mu.Lock()
	m.age()
	m.used -= share
	m.young += share
	m.mu.Unlock()
	m.shares.Release(share)
}

// age forgets the garbage that was collected.
func (m *memory) age() {
	switch cycle := m.cycles(); {
	case cycle == m.cycle:
		return
	case cycle == m.cycle+1:
		m.cycle, m.old, m.young = cycle, m.young, 0
	default:
		m.cycle, m.old, m.young = cycle, 0, 0
	}
}

func gcCycles() uint64 {
	sample := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}
