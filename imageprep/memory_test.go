package imageprep_test

import (
	"context"
	"runtime/debug"
	"runtime/metrics"
	"testing"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/testimages"
)

// TestMemoryCountsWhatDecodesLeaveBehind: before shares under way, garbage and
// kept buffers are more than the budget, there is a collection.
func TestMemoryCountsWhatDecodesLeaveBehind(t *testing.T) {
	const budget = 100
	m := imageprep.NewMemory(budget)
	for i, step := range []struct {
		acquire, release int64
		collected        bool // by the runtime, before
		garbage          int64
		forced           int
	}{
		{acquire: 60},
		{release: 60, garbage: 60},
		{acquire: 40, garbage: 60},
		{acquire: 10, garbage: 0, forced: 1}, // 110
		{release: 40, garbage: 40, forced: 1},
		{release: 10, garbage: 50, forced: 1},
		{collected: true, acquire: 50, garbage: 50, forced: 1}, // it may have begun before the garbage was left
		{collected: true, acquire: 50, garbage: 0, forced: 1},
		{release: 50, garbage: 50, forced: 1},
		{release: 50, garbage: 100, forced: 1},
		{acquire: budget, garbage: 0, forced: 2},
	} {
		if step.collected {
			m.EndCycle()
		}
		if step.acquire > 0 {
			if err := m.Acquire(context.Background(), step.acquire); err != nil {
				t.Fatal(err)
			}
		}
		if step.release > 0 {
			m.Release(step.release)
		}
		if m.Garbage() != step.garbage || m.Forced() != step.forced {
			t.Errorf("step %d: %d bytes of garbage and %d collections, want %d and %d", i, m.Garbage(), m.Forced(),
				step.garbage, step.forced)
		}
	}
}

func TestEveryPoolIsCounted(t *testing.T) {
	if are, known := imageprep.Pools(); known != are {
		t.Errorf("%d pools of %d are counted", known, are)
	}
}

// TestBombsStayWithinTheBudget decodes one bomb after the other, and looks at what
// the process holds of the system's memory meanwhile.
func TestBombsStayWithinTheBudget(t *testing.T) {
	cfg := imageprep.DefaultConfig()
	cfg.MemoryBudget = 40 << 20
	p, err := imageprep.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	bombs := testimages.Bombs(1500, 1500)
	debug.FreeOSMemory()
	debug.FreeOSMemory() // what finalizers and pools of earlier tests held takes two
	before, most := mapped(), int64(0)
	for range 2 {
		for name, data := range bombs {
			if _, err := p.Prepare(context.Background(), data); err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			most = max(most, mapped()-before)
		}
	}
	if limit := cfg.MemoryBudget + 8<<20; most > limit || most < cfg.MemoryBudget/2 {
		t.Errorf("the process grew by %d MiB, the budget is %d MiB", most>>20, cfg.MemoryBudget>>20)
	}
	for range 2 {
		p.Age()
	}
	debug.FreeOSMemory()
	if rest := mapped() - before; rest > 8<<20 {
		t.Errorf("%d MiB more than before are held at the end", rest>>20)
	}
}

// mapped is the memory that the runtime holds of the system's.
func mapped() int64 {
	samples := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(samples)
	return int64(samples[0].Value.Uint64() - samples[1].Value.Uint64())
}
