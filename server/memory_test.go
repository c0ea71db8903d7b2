package server

import (
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/config"
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
		case <-time.After(time.Minute):
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

// TestPlannedMemoryFollowsTheSettings: what a setting allows more is planned for.
func TestPlannedMemoryFollowsTheSettings(t *testing.T) {
	base := config.Default()
	const more = 1 << 30
	for name, change := range map[string]func(*config.Settings){
		"decode-memory":     func(s *config.Settings) { s.DecodeMemory += more },
		"max-body-memory":   func(s *config.Settings) { s.MaxBodyMemory += more },
		"max-body-bytes":    func(s *config.Settings) { s.MaxBodyBytes += more },
		"image-cache-bytes": func(s *config.Settings) { s.ImageCacheBytes += more },
		"concurrency":       func(s *config.Settings) { s.Concurrency = 1000 },
		"max-images":        func(s *config.Settings) { s.MaxImages *= 100 },
	} {
		s := base
		change(&s)
		if got := PlannedMemory(s) - PlannedMemory(base); got < more/2 {
			t.Errorf("%s: %d bytes more are planned for", name, got)
		}
	}
}

// TestPlanMemoryWarns: a limit that the settings may exceed is a warning that
// names both, and the collector has the lower one.
func TestPlanMemoryWarns(t *testing.T) {
	before := debug.SetMemoryLimit(-1)
	t.Cleanup(func() { debug.SetMemoryLimit(before) })
	s := config.Default()
	t.Setenv("GOMEMLIMIT", "set")
	for _, tc := range []struct {
		limit int64
		warns bool
	}{{PlannedMemory(s), false}, {PlannedMemory(s) - 1, true}} {
		debug.SetMemoryLimit(tc.limit)
		var log strings.Builder
		if got := planMemory(s, slog.New(slog.NewTextHandler(&log, nil))); got != tc.limit {
			t.Errorf("limit %d, want %d", got, tc.limit)
		}
		if got := strings.Contains(log.String(), "decode-memory"); got != tc.warns {
			t.Errorf("limit %d, planned %d: log %q", tc.limit, PlannedMemory(s), log.String())
		}
		if now := debug.SetMemoryLimit(-1); now != tc.limit {
			t.Errorf("GOMEMLIMIT %d was changed to %d", tc.limit, now)
		}
	}
	t.Setenv("GOMEMLIMIT", "")
	debug.SetMemoryLimit(math.MaxInt64)
	planMemory(s, slog.New(slog.DiscardHandler))
	if now := debug.SetMemoryLimit(-1); now > PlannedMemory(s) {
		t.Errorf("the collector may use %d bytes, the settings allow %d", now, PlannedMemory(s))
	}
}
