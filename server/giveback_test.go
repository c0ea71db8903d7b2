package server

import (
	"testing"
	"time"
)

// TestGiveBack: memory is freed once it is more than the least that the process
// has held and no longer turned over, and less often where that gives nothing.
func TestGiveBack(t *testing.T) {
	const mib = 1 << 20
	var now memory
	after, freed, aged := uint64(0), 0, 0
	g := &giveBack{
		age: func() { aged++ }, read: func() memory { return now }, free: func() { freed++; now.held = after },
		least: 40 * mib, wait: giveBackInterval,
	}
	at := time.Unix(1e9, 0)
	for i, step := range []struct {
		held, allocated uint64 // MiB; allocated since the last step
		after           uint64 // held when it is freed
		freed           bool
	}{
		{held: 60},
		{held: 900, allocated: 2000}, // busy
		{held: 900, allocated: 431},
		{held: 900, allocated: 430, after: 50, freed: true},
		{held: 55, allocated: 5},
		{held: 200, after: 190, freed: true}, // in use: the next try is after twice the time
		{held: 195},
		{held: 195, after: 190, freed: true},
		{held: 195}, {held: 195}, {held: 195},
		{held: 195, after: 45, freed: true},
		{held: 200, after: 45, freed: true},
	} {
		at = at.Add(giveBackInterval)
		now = memory{held: step.held * mib, allocated: now.allocated + step.allocated*mib}
		after = step.after * mib
		before := freed
		g.look(at)
		if (freed > before) != step.freed || aged != i+1 {
			t.Errorf("step %d: freed %v, want %v; aged %d times", i, freed > before, step.freed, aged)
		}
	}
}

func TestReadMemoryFollowsTheHeap(t *testing.T) {
	before := readMemory()
	block := make([]byte, 64<<20)
	block[len(block)-1] = 1
	after := readMemory()
	if n := after.allocated - before.allocated; n < 64<<20 {
		t.Errorf("64 MiB were allocated, it says %d", n)
	}
	if after.held < uint64(len(block)) {
		t.Errorf("%d bytes held with a block of 64 MiB", after.held)
	}
}
