package lifecycle

import (
	"sync"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

// Set is the checkpoints that a request goes by.
type Set interface {
	Get(name string) (Entry, error)
	Default() (Entry, error)
	List() []Entry
	// Revision is that of the desired state which the set is; 0 before any.
	Revision() int64
}

// Begin returns the checkpoints of this moment for a request. Their heads stay
// on the servers until end is called.
func (l *Library) Begin() (set Set, end func()) {
	var s *Snapshot
	end = l.usage.begin(func() { s = l.now.Load() })
	return s, end
}

// usage counts requests by generation: those that began between two changes of
// the snapshot.
type usage struct {
	mu         sync.Mutex
	generation int64
	active     map[int64]int
}

// begin counts a request until end is called. look runs before the generation
// can change.
func (u *usage) begin(look func()) (end func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	look()
	if u.active == nil {
		u.active = map[int64]int{}
	}
	mine := u.generation
	u.active[mine]++
	return sync.OnceFunc(func() {
		u.mu.Lock()
		defer u.mu.Unlock()
		if u.active[mine]--; u.active[mine] == 0 {
			delete(u.active, mine)
		}
	})
}

// replace runs f, which is told the generation that ends, and begins another one.
func (u *usage) replace(f func(ending int64)) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f(u.generation)
	u.generation++
}

// still runs f while no generation begins.
func (u *usage) still(f func()) {
	u.mu.Lock()
	defer u.mu.Unlock()
	f()
}

// over reports whether every request of a generation and of those before it has
// ended.
func (u *usage) over(generation int64) bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	for g := range u.active {
		if g <= generation {
			return false
		}
	}
	return true
}

// expected are bundles whose prompts are needed although the library doesn't
// have them, or no more. The zero value has none.
type expected struct {
	mu  sync.Mutex
	all map[quality.Digest][]*checkpoint.Bundle // one for each who expects it
}

// add makes a bundle known until done is called.
func (x *expected) add(b *checkpoint.Bundle) (done func()) {
	d := b.Checkpoint().Digest
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.all == nil {
		x.all = map[quality.Digest][]*checkpoint.Bundle{}
	}
	x.all[d] = append(x.all[d], b)
	return sync.OnceFunc(func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.all[d] = x.all[d][1:]; len(x.all[d]) == 0 {
			delete(x.all, d)
		}
	})
}

// get returns the bundle with that content, nil where nobody expects it.
func (x *expected) get(d quality.Digest) *checkpoint.Bundle {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.all[d]) == 0 {
		return nil
	}
	return x.all[d][0]
}
