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

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
)

// memoryPressure returns a function that says whether the live memory of this
// process is above a share of its limit, and nil where there is no limit or no
// share.
func memoryPressure(watermark float64, limit int64) func() bool {
	if watermark <= 0 || limit == 0 {
		return nil
	}
	g := &memoryGauge{above: uint64(watermark * float64(limit)), read: liveMemory, collect: runtime.GC, now: time.Now}
	return g.high
}

const (
	// programMemory is for the program itself, connections, text embeddings, spans
	// and records under way.
	programMemory = 256 << 20
	// imageMemory is for an image of a request that is worked on, decoded: the
	// encoder's pixels and the message that carries them to Triton.
	imageMemory = 2 * quality.PixelsLen
)

// PlannedMemory is the most memory that a server with these settings should
// hold, garbage included: the sum of what its settings allow.
func PlannedMemory(s config.Settings) int64 {
	bodies := max(s.MaxBodyMemory, 2*s.MaxBodyBytes) // one body of the largest size always fits
	images := int64(scoringConfig(s).Concurrency) * int64(s.MaxImages)
	return programMemory + int64(s.DecodeMemory+bodies+s.ImageCacheBytes) + images*imageMemory
}

// planMemory has the garbage collector keep the process within what its
// settings allow, and warns where that is more than there is. It returns the
// limit of the process, 0 where there is none.
func planMemory(s config.Settings, logger *slog.Logger) (limit int64) {
	limit, from := MemoryLimit()
	planned := PlannedMemory(s)
	logger.Debug("memory", "planned", planned, "limit", limit, "from", from, "watermark", s.MemoryWatermark)
	if limit > 0 && planned > limit {
		logger.Warn("the settings allow more memory than there is; lower decode-memory, max-body-memory, image-cache-bytes, "+
			"concurrency or max-images, or raise the limit", "allowed", planned, "limit", limit, "from", from)
	}
	if from != fromEnvironment {
		debug.SetMemoryLimit(min(planned, debug.SetMemoryLimit(-1)))
	}
	return limit
}

const fromEnvironment = "GOMEMLIMIT"

// MemoryLimit returns the memory limit of this process, 0 where there is none,
// and where it comes from. It tells the garbage collector of a container's.
func MemoryLimit() (limit int64, from string) {
	if limit = debug.SetMemoryLimit(-1); limit != math.MaxInt64 && os.Getenv(fromEnvironment) != "" {
		return limit, fromEnvironment
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
		debug.SetMemoryLimit(limit / 10 * 9) // the rest is for the program's file and for the kernel
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
