// Package desiredtest is what every [desired.Store] has to pass.
package desiredtest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/quality"
)

// Run holds stores against their contract. Every call of pair returns two stores
// of one new database, which are the same one where only one may be opened.
func Run(t *testing.T, pair func(t *testing.T) (a, b desired.Store)) {
	for name, test := range map[string]func(t *testing.T, a, b desired.Store){
		"document": testDocument, "bundles": testBundles, "one of two wins": testRace, "leases": testLeases,
		"locks": testLocks, "changes": testChanges,
	} {
		t.Run(name, func(t *testing.T) {
			a, b := pair(t)
			test(t, a, b)
		})
	}
}

// NewBundle returns a bundle that no other number has.
func NewBundle(n int) desired.Bundle {
	return desired.Bundle{Manifest: fmt.Appendf(nil, `{"n":%d}`, n), Weights: []byte{0, byte(n), 255}}
}

// NewCheckpoint returns an entry for it.
func NewCheckpoint(n int) desired.Checkpoint {
	return desired.Checkpoint{
		Name: fmt.Sprintf("c%d", n), Digest: quality.DigestOf([]byte{byte(n)}), Bundle: NewBundle(n).Address(),
	}
}

func testDocument(t *testing.T, a, b desired.Store) {
	ctx := t.Context()
	if s := get(t, a); s.Revision != 0 || s.Store != "" || len(s.Checkpoints) != 0 {
		t.Errorf("a new store has %+v", s)
	}
	d := desired.Document{Default: "c1", Previous: "demo"}.With(NewCheckpoint(2)).With(NewCheckpoint(1))
	set, err := a.Replace(ctx, 0, d, NewBundle(1), NewBundle(2))
	must(t, err)
	if set.Revision != 1 || set.Store == "" || set.Checkpoints[0].Name != "c1" {
		t.Errorf("replaced: %+v", set)
	}
	for name, s := range map[string]desired.Store{"a": a, "b": b} {
		if got := get(t, s); !reflect.DeepEqual(got, set) {
			t.Errorf("%s has %+v, want %+v", name, got, set)
		}
	}
	for _, was := range []int64{0, 2, -1} {
		_, err := b.Replace(ctx, was, desired.Document{})
		wantKind(t, err, quality.KindConflict)
	}
	next, err := b.Replace(ctx, 1, d.Without("c2"))
	must(t, err)
	if got := get(t, a); got.Revision != 2 || got.Store != set.Store || !reflect.DeepEqual(got, next) {
		t.Errorf("%+v, want %+v", got, next)
	}
}

func testBundles(t *testing.T, a, b desired.Store) {
	ctx := t.Context()
	large := desired.Bundle{Manifest: []byte("{}"), Weights: slices.Repeat([]byte{0, 1, 2, 255}, 1<<20)}
	c := desired.Checkpoint{Name: "large", Bundle: large.Address()}
	d := desired.Document{}.With(c).With(NewCheckpoint(1))
	_, err := a.Replace(ctx, 0, d, large, NewBundle(1))
	must(t, err)
	got, err := b.Bundle(ctx, c.Bundle)
	must(t, err)
	if !reflect.DeepEqual(got, large) {
		t.Error("a bundle came back as another one")
	}
	_, err = a.Replace(ctx, 7, desired.Document{}.With(NewCheckpoint(3)), NewBundle(3))
	wantKind(t, err, quality.KindConflict)
	_, err = a.Bundle(ctx, NewCheckpoint(3).Bundle)
	wantKind(t, err, quality.KindNotFound)
	_, err = a.Replace(ctx, 1, d.Without("large"))
	must(t, err)
	_, err = b.Bundle(ctx, c.Bundle)
	wantKind(t, err, quality.KindNotFound)
	_, err = b.Bundle(ctx, NewCheckpoint(1).Bundle)
	must(t, err)
	_, err = a.Replace(ctx, 2, desired.Document{})
	must(t, err)
	_, err = b.Bundle(ctx, NewCheckpoint(1).Bundle)
	wantKind(t, err, quality.KindNotFound)
}

func testRace(t *testing.T, a, b desired.Store) {
	const rounds, callers = 5, 8
	for round := range int64(rounds) {
		var won atomic.Int64
		var group sync.WaitGroup
		for n := range callers {
			group.Go(func() {
				s := a
				if n%2 == 0 {
					s = b
				}
				_, err := s.Replace(t.Context(), round, desired.Document{Default: fmt.Sprintf("c%d", n)})
				switch {
				case err == nil:
					won.Add(1)
				case quality.KindOf(err) != quality.KindConflict:
					t.Errorf("Replace: %v", err)
				}
			})
		}
		group.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of %d won revision %d", won.Load(), callers, round+1)
		}
	}
	if got := get(t, a); got.Revision != rounds {
		t.Errorf("revision %d, want %d", got.Revision, rounds)
	}
}

func testLeases(t *testing.T, a, b desired.Store) {
	ctx := t.Context()
	x, y := quality.DigestOf([]byte("x")), quality.DigestOf([]byte("y"))
	if !a.Shared() {
		must(t, a.Hold(ctx, "a", 7, []quality.Digest{x}))
		holders(t, a, x)
		return
	}
	must(t, a.Hold(ctx, "a", 0, []quality.Digest{x, y}))
	must(t, b.Hold(ctx, "b", -1, []quality.Digest{x}))
	holders(t, a, x, "a", "b")
	holders(t, b, y, "a")
	_, err := a.Replace(ctx, 0, desired.Document{})
	must(t, err)
	wantKind(t, b.Hold(ctx, "b", 0, []quality.Digest{y}), quality.KindConflict)
	holders(t, b, y, "a")
	must(t, a.Hold(ctx, "a", 1, []quality.Digest{x}))
	holders(t, b, y)
	must(t, a.Hold(ctx, "a", 1, nil))
	holders(t, b, x, "b")
	must(t, b.Leave(ctx, "b"))
	holders(t, b, x)
}

func testLocks(t *testing.T, a, b desired.Store) {
	ctx := t.Context()
	lock := func(s desired.Store, holder, name string, want bool) {
		t.Helper()
		if got, err := s.Lock(ctx, holder, name); err != nil || got != want {
			t.Errorf("Lock(%s, %s) = %t, %v, want %t", holder, name, got, err, want)
		}
	}
	alone := !a.Shared() // whoever asks has it
	lock(a, "a", "x", true)
	lock(b, "b", "x", alone)
	lock(a, "a", "x", true)
	lock(b, "b", "y", true)
	must(t, b.Unlock(ctx, "b", "x")) // not b's
	lock(b, "b", "x", alone)
	must(t, a.Hold(ctx, "a", -1, nil)) // renews, and keeps, locks
	lock(b, "b", "x", alone)
	must(t, a.Unlock(ctx, "a", "x"))
	lock(b, "b", "x", true)
	must(t, b.Leave(ctx, "b"))
	lock(a, "a", "x", true)
	lock(a, "a", "y", true)
	if alone {
		return
	}
	var won atomic.Int64
	var group sync.WaitGroup
	for n := range 8 {
		group.Go(func() {
			got, err := []desired.Store{a, b}[n%2].Lock(ctx, fmt.Sprint(n), "z")
			if err != nil {
				t.Errorf("Lock: %v", err)
			}
			if got {
				won.Add(1)
			}
		})
	}
	group.Wait()
	if won.Load() != 1 {
		t.Errorf("%d have one lock", won.Load())
	}
}

func testChanges(t *testing.T, a, b desired.Store) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	told := b.Changes(ctx)
	if !a.Shared() {
		return
	}
	for revision := range int64(3) {
		_, err := a.Replace(ctx, revision, desired.Document{})
		must(t, err)
		for get(t, b).Revision <= revision {
			select {
			case <-told:
			case <-ctx.Done():
				t.Fatal("nobody tells of a change")
			}
		}
	}
}

func get(t *testing.T, s desired.Store) desired.State {
	t.Helper()
	state, err := s.Desired(t.Context())
	must(t, err)
	if len(state.Checkpoints) == 0 {
		state.Checkpoints = nil
	}
	return state
}

func holders(t *testing.T, s desired.Store, head quality.Digest, want ...string) {
	t.Helper()
	if got, err := s.Holders(t.Context(), head); err != nil || !slices.Equal(got, want) {
		t.Errorf("holders %v, %v, want %v", got, err, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantKind(t *testing.T, err error, want quality.Kind) {
	t.Helper()
	if err == nil || quality.KindOf(err) != want {
		t.Errorf("error %v, want one of kind %s", err, want)
	}
}
