package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/quality"
)

// keyNoon is noon as keys' times are kept: to the microsecond.
var keyNoon = noon.Truncate(time.Microsecond)

// NewKey returns a key of a name. n tells keys apart, and by how many minutes
// they are older than noon.
func NewKey(name string, n int) access.Key {
	k := access.Key{
		ID: fmt.Sprintf("%s-%03d", name, n), Name: name, Scopes: []access.Scope{access.ScopeScore, access.ScopeFeedback},
		Rater: "rater " + name, Created: keyNoon.Add(-time.Duration(n) * time.Minute), CreatedBy: "key-0123",
	}
	for i := range k.Hash {
		k.Hash[i] = byte(n + i)
	}
	return k
}

// RunKeys checks the contract of access.Store. Each subtest gets an empty store of
// its own from open, which closes it when the subtest ends.
func RunKeys(t *testing.T, open func(t *testing.T) access.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, access.Store)
	}{
		{"a key comes back as it was", testKeyRoundTrip},
		{"a name has two valid keys", testKeysOfAName},
		{"of many who create the last key one may", testKeyCreationRace},
		{"a revoked key stays revoked", testRevokeKey},
		{"the last use goes forward", testUseKeys},
		{"what ended long ago is not listed", testOldKeys},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func createKeys(t *testing.T, s access.Store, keys ...access.Key) {
	t.Helper()
	for _, k := range keys {
		if err := s.CreateKey(t.Context(), k); err != nil {
			t.Fatalf("CreateKey %s: %v", k.ID, err)
		}
	}
}

// wantKeys checks what is listed, in order.
func wantKeys(t *testing.T, s access.Store, since time.Time, want ...access.Key) {
	t.Helper()
	got, err := s.ListKeys(t.Context(), since)
	if err != nil {
		t.Fatalf("ListKeys: %v", err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
}

func testKeyRoundTrip(t *testing.T, s access.Store) {
	wantKeys(t, s, time.Time{})
	bare, full := NewKey("a", 1), NewKey("b", 2)
	bare.Rater = ""
	full.Expires, full.Used = keyNoon.Add(time.Hour), keyNoon.Add(-time.Second)
	createKeys(t, s, bare, full)
	wantKeys(t, s, keyNoon, full, bare) // the oldest first
}

func testKeysOfAName(t *testing.T, s access.Store) {
	first, second, other := NewKey("a", 3), NewKey("a", 2), NewKey("b", 2)
	first.Expires = keyNoon
	createKeys(t, s, first, second, other)
	third := NewKey("a", 1)
	if err := s.CreateKey(t.Context(), third); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("a third key: %v, want conflict", err)
	}
	third.Created = keyNoon // when the first has expired
	createKeys(t, s, third)
	if _, err := s.RevokeKey(t.Context(), second.ID, "somebody", keyNoon); err != nil {
		t.Fatal(err)
	}
	fourth := NewKey("a", 0)
	fourth.Created = keyNoon.Add(time.Second)
	createKeys(t, s, fourth)
}

func testKeyCreationRace(t *testing.T, s access.Store) {
	createKeys(t, s, NewKey("a", 100))
	var group sync.WaitGroup
	var created atomic.Int32
	for n := range 8 {
		group.Go(func() {
			switch err := s.CreateKey(t.Context(), NewKey("a", n)); {
			case err == nil:
				created.Add(1)
			case quality.KindOf(err) != quality.KindConflict:
				t.Errorf("CreateKey: %v", err)
			}
		})
	}
	group.Wait()
	if created.Load() != 1 {
		t.Errorf("%d further keys were created, want 1", created.Load())
	}
}

func testRevokeKey(t *testing.T, s access.Store) {
	k := NewKey("a", 1)
	createKeys(t, s, k, NewKey("b", 2))
	k.Revoked, k.RevokedBy = keyNoon, "somebody"
	for n := range 2 {
		got, err := s.RevokeKey(t.Context(), k.ID, "somebody", keyNoon.Add(time.Duration(n)*time.Second))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(k, got); diff != "" {
			t.Errorf("time %d (-want +got):\n%s", n, diff)
		}
	}
	wantKeys(t, s, keyNoon, NewKey("b", 2), k)
	if _, err := s.RevokeKey(t.Context(), "nobody", "somebody", keyNoon); quality.KindOf(err) != quality.KindNotFound {
		t.Errorf("a key that is not there: %v, want not_found", err)
	}
}

func testUseKeys(t *testing.T, s access.Store) {
	a, b := NewKey("a", 1), NewKey("b", 2)
	createKeys(t, s, a, b)
	for _, used := range []map[string]time.Time{
		{a.ID: keyNoon, b.ID: keyNoon.Add(time.Minute), "nobody": keyNoon}, {a.ID: keyNoon.Add(-time.Minute)},
	} {
		if err := s.UseKeys(t.Context(), used); err != nil {
			t.Fatal(err)
		}
	}
	a.Used, b.Used = keyNoon, keyNoon.Add(time.Minute)
	wantKeys(t, s, keyNoon, b, a)
}

func testOldKeys(t *testing.T, s access.Store) {
	expired, revoked, valid := NewKey("a", 3), NewKey("b", 2), NewKey("c", 1)
	expired.Expires = keyNoon
	revoked.Revoked, revoked.RevokedBy = keyNoon, "somebody"
	createKeys(t, s, expired, revoked, valid)
	wantKeys(t, s, keyNoon, expired, revoked, valid)
	wantKeys(t, s, keyNoon.Add(time.Second), valid)
}
