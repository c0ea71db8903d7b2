// Package cachetest holds the one suite that every cache.Store must pass, the
// fakes of tests included.
package cachetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/cache"
)

// MaxValueBytes is the limit that the stores under test must be made with.
const MaxValueBytes = 4096

// expiryPatience bounds the wait for a value of expiryTTL to go.
const (
	expiryTTL      = 20 * time.Millisecond
	expiryPatience = time.Minute
)

// Run checks the contract of cache.Store. Each subtest gets a store of its own
// from newStore: empty, with a limit of [MaxValueBytes] and room for some
// hundred values of that size. Run it under the race detector.
func Run(t *testing.T, newStore func(t *testing.T) cache.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, cache.Store)
	}{
		{"an absent key is ErrNotFound", testAbsent},
		{"a value comes back as it was", testRoundTrip},
		{"keys are told apart byte by byte", testKeys},
		{"the last Set wins", testReplace},
		{"Set keeps a copy", testCopy},
		{"Delete forgets, and may be repeated", testDelete},
		{"values out of bounds are refused and leave what was there", testSizes},
		{"a time to live must be positive", testTTL},
		{"a value goes when its time has passed, and no other", testExpiry},
		{"a new Set renews the time", testRenewal},
		{"concurrent use never mixes keys", testConcurrent},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newStore(t)) })
	}
}

func testAbsent(t *testing.T, s cache.Store) {
	value, err := s.Get(t.Context(), "absent")
	if !errors.Is(err, cache.ErrNotFound) || value != nil {
		t.Errorf("Get = %q, %v; want nil, ErrNotFound", value, err)
	}
}

func testRoundTrip(t *testing.T, s cache.Store) {
	every := make([]byte, 256)
	for i := range every {
		every[i] = byte(i)
	}
	for _, test := range []struct {
		name  string
		value []byte
	}{
		{"one zero byte", []byte{0}},
		{"every byte", every},
		{"line ends", []byte("\r\n$-1\r\n")},
		{"at the limit", bytes.Repeat([]byte{0xff}, MaxValueBytes)},
	} {
		set(t, s, test.name, test.value)
		want(t, s, test.name, test.value)
	}
}

func testKeys(t *testing.T, s cache.Store) {
	keys := []string{"k", "K", "k ", " k", "k\n", "k\x00", "k*", "{k}", "k:1", "k\xff", "ключ"}
	for _, k := range keys {
		set(t, s, k, []byte("value of "+k))
	}
	for _, k := range keys {
		want(t, s, k, []byte("value of "+k))
	}
}

func testReplace(t *testing.T, s cache.Store) {
	set(t, s, "k", []byte("a long first value"))
	set(t, s, "k", []byte("second"))
	want(t, s, "k", []byte("second"))
}

func testCopy(t *testing.T, s cache.Store) {
	value := []byte("before")
	set(t, s, "k", value)
	copy(value, "after!")
	want(t, s, "k", []byte("before"))
}

func testDelete(t *testing.T, s cache.Store) {
	set(t, s, "k", []byte("v"))
	set(t, s, "other", []byte("o"))
	for range 2 {
		if err := s.Delete(t.Context(), "k"); err != nil {
			t.Fatalf("Delete: %v", err)
		}
	}
	if _, err := s.Get(t.Context(), "k"); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("Get after Delete: %v, want ErrNotFound", err)
	}
	want(t, s, "other", []byte("o"))
}

func testSizes(t *testing.T, s cache.Store) {
	set(t, s, "k", []byte("v"))
	for _, test := range []struct {
		name  string
		value []byte
	}{
		{"nil", nil},
		{"empty", []byte{}},
		{"one above the limit", make([]byte, MaxValueBytes+1)},
	} {
		if err := s.Set(t.Context(), "k", test.value, time.Hour); !errors.Is(err, cache.ErrValueSize) {
			t.Errorf("Set of a value that is %s: %v, want ErrValueSize", test.name, err)
		}
	}
	want(t, s, "k", []byte("v"))
}

func testTTL(t *testing.T, s cache.Store) {
	set(t, s, "k", []byte("v"))
	for _, ttl := range []time.Duration{0, -time.Second} {
		if err := s.Set(t.Context(), "k", []byte("new"), ttl); !errors.Is(err, cache.ErrTTL) {
			t.Errorf("Set for %s: %v, want ErrTTL", ttl, err)
		}
	}
	want(t, s, "k", []byte("v"))
	// Below the resolution of some stores; it must not mean "for ever", nor fail.
	if err := s.Set(t.Context(), "short", []byte("v"), time.Nanosecond); err != nil {
		t.Errorf("Set for 1ns: %v", err)
	}
	wantGone(t, s, "short")
}

func testExpiry(t *testing.T, s cache.Store) {
	set(t, s, "long", []byte("stays"))
	if err := s.Set(t.Context(), "short", []byte("goes"), expiryTTL); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, "short")
	want(t, s, "long", []byte("stays"))
}

func testRenewal(t *testing.T, s cache.Store) {
	if err := s.Set(t.Context(), "marker", []byte("m"), expiryTTL); err != nil {
		t.Fatal(err)
	}
	if err := s.Set(t.Context(), "k", []byte("old"), expiryTTL); err != nil {
		t.Fatal(err)
	}
	set(t, s, "k", []byte("new"))
	// Set after k's first value, so that its end proves that k's time passed too.
	if err := s.Set(t.Context(), "marker", []byte("m"), expiryTTL); err != nil {
		t.Fatal(err)
	}
	wantGone(t, s, "marker")
	want(t, s, "k", []byte("new"))
}

// testConcurrent writes values that name their key. Whoever reads another
// key's name has found a store that mixes them up.
func testConcurrent(t *testing.T, s cache.Store) {
	const workers, steps, keys = 8, 200, 5
	var group sync.WaitGroup
	defer group.Wait()
	for w := range workers {
		group.Go(func() {
			random := rand.New(rand.NewPCG(1, uint64(w)))
			for range steps {
				k := fmt.Sprintf("key-%d", random.IntN(keys))
				if err := step(t.Context(), s, k, random); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
}

func step(ctx context.Context, s cache.Store, k string, random *rand.Rand) error {
	switch random.IntN(8) {
	case 0:
		return s.Delete(ctx, k)
	case 1, 2:
		value := append([]byte(k+"|"), bytes.Repeat([]byte{k[len(k)-1]}, random.IntN(MaxValueBytes-16))...)
		return s.Set(ctx, k, value, time.Hour)
	}
	value, err := s.Get(ctx, k)
	if errors.Is(err, cache.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	if !bytes.HasPrefix(value, []byte(k+"|")) || len(bytes.Trim(value[len(k)+1:], k[len(k)-1:])) > 0 {
		return fmt.Errorf("Get(%q) = %.40q..., which was written under another key, or is torn", k, value)
	}
	return nil
}

func set(t *testing.T, s cache.Store, key string, value []byte) {
	t.Helper()
	if err := s.Set(t.Context(), key, value, time.Hour); err != nil {
		t.Fatalf("Set(%q): %v", key, err)
	}
}

func want(t *testing.T, s cache.Store, key string, value []byte) {
	t.Helper()
	got, err := s.Get(t.Context(), key)
	if err != nil || !bytes.Equal(got, value) {
		t.Errorf("Get(%q) = %.40q, %v; want %.40q", key, got, err, value)
	}
}

// wantGone asks until the key has expired. A store in another process keeps a
// clock of its own, so there is nothing to wait on but the answer.
func wantGone(t *testing.T, s cache.Store, key string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), expiryPatience)
	defer cancel()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := s.Get(ctx, key); errors.Is(err, cache.ErrNotFound) {
			return
		} else if err != nil {
			t.Fatalf("Get(%q): %v", key, err)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%q is still there after %s", key, expiryPatience)
		}
	}
}
