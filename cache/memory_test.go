package cache_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/cachetest"
)

func TestMemoryIsAStore(t *testing.T) {
	cachetest.Run(t, func(t *testing.T) cache.Store { return newMemory(t) })
}

func TestMemoryHoldsItsBudget(t *testing.T) {
	const budget, valueLen, keyLen = 100_000, 1000, 24
	m, err := cache.NewMemory(cache.MemoryConfig{BudgetBytes: budget, MaxValueBytes: valueLen})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	const sets = 5000
	for i := range sets {
		if err := m.Set(t.Context(), fmt.Sprintf("%0*d", keyLen, i), make([]byte, valueLen), time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	s := m.Stats()
	if s.Bytes > budget || s.Bytes < budget/2 {
		t.Errorf("Bytes = %d, want at most %d, and most of it used", s.Bytes, budget)
	}
	if want := int64(s.Entries) * (valueLen + keyLen); s.Bytes != want {
		t.Errorf("Bytes = %d for %d entries, want %d: keys and values count", s.Bytes, s.Entries, want)
	}
	if got := int(s.Evictions) + s.Entries; got != sets {
		t.Errorf("%d evictions and %d entries, want %d together", s.Evictions, s.Entries, sets)
	}
	if s.Budget != budget {
		t.Errorf("Budget = %d, want %d", s.Budget, budget)
	}
}

func TestMemoryKeepsWhatIsInUse(t *testing.T) {
	m, err := cache.NewMemory(cache.MemoryConfig{BudgetBytes: 50_000, MaxValueBytes: 1000})
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	if err := m.Set(t.Context(), "hot", make([]byte, 1000), time.Hour); err != nil {
		t.Fatal(err)
	}
	for i := range 2000 {
		if _, err := m.Get(t.Context(), "hot"); err != nil {
			t.Fatalf("the key in use was evicted after %d others: %v", i, err)
		}
		if err := m.Set(t.Context(), fmt.Sprint("once-", i), make([]byte, 1000), time.Hour); err != nil {
			t.Fatal(err)
		}
		m.Stats() // settles reads and evictions, which the store may batch
	}
}

func TestMemoryExpiresToTheMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, err := cache.NewMemory(cache.DefaultMemoryConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer m.Close()
		if err := m.Set(t.Context(), "k", []byte("v"), time.Minute); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute - time.Nanosecond)
		if _, err := m.Get(t.Context(), "k"); err != nil {
			t.Errorf("Get just before the end: %v", err)
		}
		time.Sleep(time.Nanosecond)
		if _, err := m.Get(t.Context(), "k"); !errors.Is(err, cache.ErrNotFound) {
			t.Errorf("Get at the end: %v, want ErrNotFound", err)
		}
		time.Sleep(time.Minute)
		if s := m.Stats(); s.Entries != 0 || s.Bytes != 0 {
			t.Errorf("a minute later there are %d entries of %d bytes, want none: nobody must ask for an expired key to free it",
				s.Entries, s.Bytes)
		}
	})
}

func TestMemoryStats(t *testing.T) {
	m := newMemory(t)
	if err := m.Set(t.Context(), "key", []byte("value"), time.Hour); err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"key", "key", "absent"} {
		_, _ = m.Get(t.Context(), k)
	}
	got := m.Stats()
	want := cache.MemoryStats{Entries: 1, Bytes: 8, Budget: 4 << 20, Hits: 2, Misses: 1}
	if got != want {
		t.Errorf("Stats = %+v, want %+v", got, want)
	}
}

func TestMemoryConfigNamesEveryFault(t *testing.T) {
	for _, test := range []struct {
		name   string
		config cache.MemoryConfig
		want   []string // empty: valid
	}{
		{"the default", cache.DefaultMemoryConfig(), nil},
		{"zero", cache.MemoryConfig{}, []string{"BudgetBytes", "MaxValueBytes"}},
		{"negative", cache.MemoryConfig{BudgetBytes: -1, MaxValueBytes: -1}, []string{"BudgetBytes", "MaxValueBytes"}},
		{"a value above the budget", cache.MemoryConfig{BudgetBytes: 10, MaxValueBytes: 11},
			[]string{"MaxValueBytes is 11, above BudgetBytes 10"}},
		{"a value at the budget", cache.MemoryConfig{BudgetBytes: 10, MaxValueBytes: 10}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := cache.NewMemory(test.config)
			if m != nil {
				defer m.Close()
			}
			wantFaults(t, err, test.want)
		})
	}
}

// wantFaults checks that err names each of the faults, or is nil when there
// are none.
func wantFaults(t *testing.T, err error, want []string) {
	t.Helper()
	if len(want) == 0 {
		if err != nil {
			t.Errorf("error = %v, want none", err)
		}
		return
	}
	if err == nil {
		t.Fatalf("no error, want one that names %q", want)
	}
	for _, w := range want {
		if !strings.Contains(err.Error(), w) {
			t.Errorf("error = %q, want it to name %q", err, w)
		}
	}
}
