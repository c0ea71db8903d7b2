package cache_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cache"
)

func TestObserveMemory(t *testing.T) {
	m, memory := newMetrics(t), newMemory(t)
	stop, err := cache.ObserveMemory(m.provider, "image", memory)
	if err != nil {
		t.Fatal(err)
	}
	if err := memory.Set(t.Context(), "key", []byte("value"), time.Hour); err != nil {
		t.Fatal(err)
	}
	for instrument, want := range map[string]int64{
		"agiqa.cache.memory.entries":   1,
		"agiqa.cache.memory.bytes":     8,
		"agiqa.cache.memory.budget":    4 << 20,
		"agiqa.cache.memory.evictions": 0,
	} {
		if diff := cmp.Diff(map[string]int64{"cache=image": want}, m.values(t, instrument)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", instrument, diff)
		}
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	if got := m.values(t, "agiqa.cache.memory.entries"); len(got) != 0 {
		t.Errorf("still shown after stop: %v", got)
	}
}

func TestNoMeterIsNeeded(t *testing.T) {
	stop, err := cache.ObserveMemory(nil, "image", newMemory(t))
	if err != nil {
		t.Fatal(err)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}
