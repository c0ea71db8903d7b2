package server

import (
	"runtime"
	"testing"
	"time"
)

func TestMemoryGauge(t *testing.T) {
	now, live := time.Unix(1e9, 0), uint64(84)
	collected := make(chan bool, 10)
	g := &memoryGauge{above: 85, read: func() uint64 { return live }, collect: func() { collected <- true },
		now: func() time.Time { return now }}
	for _, step := range []struct {
		after time.Duration
		live  uint64
		high  bool
	}{
		{0, 84, false},
		{50 * time.Millisecond, 90, false}, // read lately
		{50 * time.Millisecond, 90, true},
		{100 * time.Millisecond, 90, true},
		{900 * time.Millisecond, 90, true}, // and a collection
		{100 * time.Millisecond, 80, false},
	} {
		now, live = now.Add(step.after), step.live
		if got := g.high(); got != step.high {
			t.Errorf("with %d live: %v, want %v", live, got, step.high)
		}
	}
	for range 2 {
		select {
		case <-collected:
		case <-time.After(10 * time.Second):
			t.Fatal("no collection was asked for")
		}
	}
	if len(collected) != 0 {
		t.Errorf("%d collections too many", len(collected))
	}
}

func TestLiveMemoryFollowsTheHeap(t *testing.T) {
	runtime.GC()
	before := liveMemory()
	block := make([]byte, 64<<20)
	runtime.GC()
	if grown := liveMemory() - before; grown < 60<<20 || grown > 200<<20 {
		t.Errorf("64 MiB more in use: liveMemory grew by %d", grown)
	}
	runtime.KeepAlive(block)
}
