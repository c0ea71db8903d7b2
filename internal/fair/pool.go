package fair

import "time"

// Config bounds a [Pool].
type Config struct {
	Units int // items under way at once
	// Kept is how many units large items leave free while small ones come. What
	// is under way is not interrupted, and a small item should not have to wait
	// for the end of a large one.
	Kept   int
	Memory int64 // of all items under way; 0: any
}

// An item is large if it costs more than largeRatio times the cheapest one that
// came within the last smallMemory. Where all cost about the same, none is.
// Large items leave an eighth of the memory to small ones.
const (
	largeRatio  = 4
	smallMemory = 5 * time.Second
)

// Pool bounds how many items are under way, and the memory that they take. Those
// that wait begin in the order of a [Queue].
type Pool[T any] struct {
	cfg   Config
	all   Queue[*Turn[T]]
	small Queue[*Turn[T]] // those that wait and aren't large, once more
	under usage           // all under way
	large usage           // those of them that are large

	least   float64 // the cheapest item of late
	leastAt time.Time
}

type usage struct {
	units  int
	memory int64
}

func (u *usage) add(units int, memory int64) { u.units, u.memory = u.units+units, u.memory+memory }

// Turn is an item of a pool.
type Turn[T any] struct {
	Value T

	memory int64
	large  bool
	item   *Item[*Turn[T]]
	spare  *Item[*Turn[T]] // in small; nil: not there
}

// NewPool returns an empty pool.
func NewPool[T any](cfg Config) *Pool[T] { return &Pool[T]{cfg: cfg} }

// Enter adds an item, which waits until [Pool.Begin] returns it.
func (p *Pool[T]) Enter(now time.Time, who Who, cost float64, memory int64, value T) *Turn[T] {
	if cost <= p.least || now.Sub(p.leastAt) > smallMemory {
		p.least, p.leastAt = cost, now
	}
	t := &Turn[T]{Value: value, memory: memory, large: p.IsLarge(cost)}
	t.item = p.all.Push(who, cost, t)
	if !t.large {
		t.spare = p.small.Push(who, cost, t)
	}
	return t
}

// Begin begins the next item and returns it; nil: none may begin. Ask until it
// does, whenever an item has entered or left.
func (p *Pool[T]) Begin() *Turn[T] {
	for _, q := range []*Queue[*Turn[T]]{&p.all, &p.small} {
		next := q.Next()
		if next == nil || !p.fits(next.Value) {
			continue
		}
		t := next.Value
		p.all.Serve(t.item)
		p.under.add(1, t.memory)
		if t.large {
			p.large.add(1, t.memory)
		} else {
			p.small.Serve(t.spare)
		}
		return t
	}
	return nil
}

func (p *Pool[T]) fits(t *Turn[T]) bool {
	if p.under.units >= p.cfg.Units {
		return false
	}
	if !t.large {
		return p.memoryFits(p.under, t, p.cfg.Memory)
	}
	return p.large.units < p.LargeUnits() && p.memoryFits(p.large, t, p.cfg.Memory-p.cfg.Memory/8)
}

// memoryFits lets an item begin that is alone, whatever it needs.
func (p *Pool[T]) memoryFits(beside usage, t *Turn[T], limit int64) bool {
	return p.cfg.Memory == 0 || beside.units == 0 || beside.memory+t.memory <= limit
}

// Leave takes an item out: one that is over, or one that waits and does not want
// its turn any more.
func (p *Pool[T]) Leave(t *Turn[T]) {
	if !t.Waiting() {
		p.under.add(-1, -t.memory)
		if t.large {
			p.large.add(-1, -t.memory)
		}
	}
	p.all.Done(t.item)
	if t.spare != nil {
		p.small.Done(t.spare)
	}
}

// Large reports whether the item was large when it came.
func (t *Turn[T]) Large() bool { return t.large }

// Waiting reports whether the item has not begun yet.
func (t *Turn[T]) Waiting() bool { return t.item.place != nil }

// Used is how many items are under way.
func (p *Pool[T]) Used() int { return p.under.units }

// Queue is the queue of those that wait and are under way.
func (p *Pool[T]) Queue() *Queue[*Turn[T]] { return &p.all }

// IsLarge reports whether an item of a cost would be large if it came now.
func (p *Pool[T]) IsLarge(cost float64) bool { return cost > largeRatio*p.least }

// LargeUnits is how many large items may be under way while small ones come.
func (p *Pool[T]) LargeUnits() int { return max(1, p.cfg.Units-p.cfg.Kept) }
