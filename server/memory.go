package server

import (
	"log/slog"
	"math"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"time"
)

// memoryPressure returns a function that says whether the live memory of this
// process is above a share of its limit, and nil where there is no limit or no
// share. Without GOMEMLIMIT a container's limit counts, and the garbage
// collector is told of it.
func memoryPressure(watermark float64, logger *slog.Logger) func() bool {
	limit, from := MemoryLimit()
	if watermark <= 0 || limit == 0 {
		return nil
	}
	logger.Debug("memory limit", "bytes", limit, "from", from, "watermark", watermark)
	g := &memoryGauge{above: uint64(watermark * float64(limit)), read: liveMemory, collect: runtime.GC, now: time.Now}
	return g.high
}

// MemoryLimit returns the memory limit of this process, 0 where there is none,
// and where it comes from. It tells the garbage collector of a container's.
func MemoryLimit() (limit int64, from string) {
	if limit = debug.SetMemoryLimit(-1); limit != math.MaxInt64 {
		return limit, "GOMEMLIMIT"
	}
	for _, file := range []string{"/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		// "max", and the huge number that means the same in version 1, are none.
		limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
		if err != nil || limit <= 0 || limit > 1<<50 {
			continue
		}
		debug.SetMemoryLimit(limit / 10 * 9) // the rest is for decoders in C and for the kernel
		return limit, file
	}
	return 0, ""
}

// memoryGauge reads at most ten times a second. What was live at the last
// collection only changes with the next one, so that while it is too much the
// gauge asks for one, once a second.
type memoryGauge struct {
	above   uint64
	read    func() uint64
	collect func()
	now     func() time.Time

	mu        sync.Mutex
	looked    time.Time
	collected time.Time
	is        bool
}

func (g *memoryGauge) high() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	if now.Sub(g.looked) < 100*time.Millisecond {
		return g.is
	}
	g.looked = now
	g.is = g.read() > g.above
	if g.is && now.Sub(g.collected) >= time.Second {
		g.collected = now
		go g.collect()
	}
	return g.is
}

// liveMemory is the heap that the last collection found in use, and what is
// not heap.
func liveMemory() uint64 {
	samples := []metrics.Sample{
		{Name: "/gc/heap/live:bytes"}, {Name: "/memory/classes/heap/stacks:bytes"},
		{Name: "/memory/classes/metadata/other:bytes"}, {Name: "/memory/classes/os-stacks:bytes"},
	}
	metrics.Read(samples)
	sum := uint64(0)
	for _, s := range samples {
		if s.Value.Kind() == metrics.KindUint64 {
			sum += s.Value.Uint64()
		}
	}
	return sum
}
