package server

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

const (
	// giveBackInterval is how often memory is looked at.
	giveBackInterval = 5 * time.Second
	// giveBackLongest is how long to wait after there was nothing to give back.
	giveBackLongest = time.Minute
	// worthwhile is how much memory a collection should give back.
	worthwhile = 32 << 20
)

// giveBack returns memory to the system once the burst of requests that needed
// it is over. By itself the runtime does that within minutes, and keeps what
// the last collection, which may have found the burst's memory in use, made it
// expect to need again.
type giveBack struct {
	age  func()        // drops buffers that nobody has used lately
	read func() memory // of the process
	free func()        // collects garbage and returns all free memory

	least     uint64 // the least that the process has held
	allocated uint64
	wait      time.Duration
	next      time.Time
}

// memory is what the runtime says about itself, in bytes.
type memory struct {
	held      uint64 // of the system
	allocated uint64 // on the heap, since the start
}

func newGiveBack(age func()) *giveBack {
	return &giveBack{age: age, read: readMemory, free: debug.FreeOSMemory,
		least: readMemory().held, wait: giveBackInterval}
}

func (g *giveBack) run(ctx context.Context) {
	ticker := time.NewTicker(giveBackInterval)
	defer ticker.Stop()
	for {
		select {
		case now := <-ticker.C:
			g.look(now)
		case <-ctx.Done():
			return
		}
	}
}

// look frees memory if the process holds more than it did at its least, and
// little of that was allocated anew since the last look. After a try that gave
// back little it waits longer.
func (g *giveBack) look(now time.Time) {
	g.age()
	m := g.read()
	allocated := m.allocated - g.allocated
	g.allocated = m.allocated
	g.least = min(g.least, m.held)
	surplus := m.held - g.least
	if surplus < worthwhile || allocated > surplus/2 || now.Before(g.next) {
		return
	}
	g.free()
	after := g.read()
	g.allocated, g.least = after.allocated, min(g.least, after.held)
	if after.held+worthwhile < m.held {
		g.wait = giveBackInterval
	} else {
		g.wait = min(2*g.wait, giveBackLongest)
	}
	g.next = now.Add(g.wait)
}

func readMemory() memory {
	samples := []metrics.Sample{
		{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"},
		{Name: "/gc/heap/allocs:bytes"},
	}
	metrics.Read(samples)
	return memory{held: samples[0].Value.Uint64() - samples[1].Value.Uint64(), allocated: samples[2].Value.Uint64()}
}
