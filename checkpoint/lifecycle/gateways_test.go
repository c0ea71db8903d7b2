package lifecycle_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
)

// patience is for what takes as long as the machine is busy.
const patience = time.Minute

// leaseClock is a time that a test moves.
type leaseClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *leaseClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *leaseClock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// gateways are several on two servers and one store.
func gateways(t *testing.T, uploads bool, n int) ([]*rig, *desired.Memory, *leaseClock) {
	t.Helper()
	clock := &leaseClock{}
	store := desired.NewMemory("shared", true, clock.now)
	first := newRig(t, uploads)
	first.cfg.RetryInterval, first.cfg.SyncInterval = 20*time.Millisecond, 200*time.Millisecond
	first.cfg.RemovalWait = 50 * time.Millisecond
	var all []*rig
	for range n {
		all = append(all, first.beside(store))
	}
	return all, store, clock
}

func runAll(all []*rig) {
	for _, r := range all {
		r.run()
	}
}

func (r *rig) defaultName() string { return choice(r.library.Snapshot())[0] }

func (r *rig) has(name string) bool {
	_, err := r.library.Get(name)
	return err == nil
}

// loaded counts the servers that have the head.
func (r *rig) loaded(b *checkpoint.Bundle) (n int) {
	for _, s := range r.servers {
		if slices.Contains(s.Models(), b.Checkpoint().HeadModel()) {
			n++
		}
	}
	return n
}

// TestGatewaysFollow: what one gateway is told, all of them do.
func TestGatewaysFollow(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		all, _, _ := gateways(t, uploads, 3)
		runAll(all)
		a, b, c := all[0], all[1], all[2]
		one := a.mustImport("one", 1)
		within(t, patience, "one is on every gateway", func() bool { return b.has("one") && c.has("one") })
		for i, s := range a.servers {
			if n := s.Loads(one.Checkpoint().HeadModel()) + s.Loads(one.Checkpoint().EnsembleModel()); n != 1 {
				t.Errorf("server %d was asked %d times to load it", i, n)
			}
		}
		change, err := a.manager.Activate(t.Context(), "one", "test")
		must(t, err)
		within(t, patience, "one is the default everywhere", func() bool {
			return b.defaultName() == "one" && c.defaultName() == "one"
		})
		for _, r := range all {
			within(t, patience, "the revision is the change's", func() bool {
				return r.library.Snapshot().Revision() == change.Revision
			})
		}
		_, err = b.manager.Rollback(t.Context(), "test")
		must(t, err)
		_, err = c.manager.Remove(t.Context(), "one", "test") // c may not know of the rollback yet
		must(t, err)
		within(t, patience, "one is gone everywhere", func() bool {
			return !a.has("one") && !b.has("one") && a.loaded(one) == 0
		})
		for _, r := range all {
			if left := tree(t, filepath.Join(r.dir, "one")); len(left) > 0 {
				t.Errorf("copies of a removed checkpoint: %v", left)
			}
		}
	})
}

// TestDefaultWaitsForServers: a gateway whose servers can't load a checkpoint
// keeps its default, says why, and follows when they can.
func TestDefaultWaitsForServers(t *testing.T) {
	all, store, _ := gateways(t, true, 1)
	b := all[0]
	b.run()
	b.bundle("one", 1)           // for its servers' arithmetic
	elsewhere := newRig(t, true) // other servers
	a := elsewhere.beside(store)
	b.spy.setCheck(func() error { return quality.Errorf(quality.KindModelUnavailable, "not yet") })
	one := a.mustImport("one", 1)
	_, err := a.manager.Activate(t.Context(), "one", "test")
	must(t, err)
	within(t, patience, "the other one says what is missing", func() bool {
		return b.manager.Standing().Missing["one"] != nil && b.manager.Standing().Wanted == 3
	})
	if b.defaultName() != shippedName || b.has("one") {
		t.Errorf("the default is %s, and one is there: %t", b.defaultName(), b.has("one"))
	}
	b.spy.setCheck(nil)
	within(t, patience, "it follows", func() bool { return b.defaultName() == "one" })
	within(t, patience, "nothing is missing", func() bool {
		s := b.manager.Standing()
		return s.Served == s.Wanted && len(s.Missing) == 0 && b.loaded(one) == 2
	})
}

// TestRemovalWaitsForRequests of every gateway.
func TestRemovalWaitsForRequests(t *testing.T) {
	ways(t, func(t *testing.T, uploads bool) {
		all, _, _ := gateways(t, uploads, 2)
		runAll(all)
		a, b := all[0], all[1]
		one := a.mustImport("one", 1)
		within(t, patience, "one is on b", func() bool { return b.has("one") })
		for _, r := range []*rig{b, a} {
			set, end := r.library.Begin()
			if _, err := set.Get("one"); err != nil {
				t.Fatal(err)
			}
			change, err := a.manager.Remove(t.Context(), "one", "test")
			must(t, err)
			if change.Unloaded {
				t.Error("unloaded while a request uses it")
			}
			within(t, patience, "nobody can name it", func() bool { return !a.has("one") && !b.has("one") })
			if a.loaded(one) != 2 {
				t.Errorf("%d servers have what a request uses", a.loaded(one))
			}
			e, err := set.Get("one")
			must(t, err)
			if _, err := b.library.Prompts(e.Checkpoint); r == b && err != nil {
				t.Errorf("its prompts are gone: %v", err)
			}
			end()
			within(t, patience, "it is unloaded", func() bool { return a.loaded(one) == 0 })
			one = a.mustImport("one", 1)
			within(t, patience, "one is on b again", func() bool { return b.has("one") })
		}
	})
}

// TestDeadGatewayHoldsNothing for longer than its lease.
func TestDeadGatewayHoldsNothing(t *testing.T) {
	all, _, clock := gateways(t, true, 2)
	a, b := all[0], all[1] // b's loops don't run: it was killed
	a.run()
	one := a.mustImport("one", 1)
	must(t, b.manager.Sync(t.Context()))
	if !b.has("one") {
		t.Fatal("b lacks it")
	}
	change, err := a.manager.Remove(t.Context(), "one", "test")
	must(t, err)
	if change.Unloaded || a.loaded(one) != 2 {
		t.Errorf("unloaded before the lease of a gateway ended")
	}
	clock.forward(desired.LeaseTime + time.Second)
	within(t, patience, "it is unloaded", func() bool { return a.loaded(one) == 0 })
}

// TestLeavingGateway gives its leases up.
func TestLeavingGateway(t *testing.T) {
	all, _, _ := gateways(t, true, 2)
	a, b := all[0], all[1]
	stop := b.run()
	one := a.mustImport("one", 1)
	within(t, patience, "one is on b", func() bool { return b.has("one") })
	stop()
	change, err := a.manager.Remove(t.Context(), "one", "test")
	must(t, err)
	if !change.Unloaded || a.loaded(one) != 0 {
		t.Errorf("unloaded %t, and %d servers have it", change.Unloaded, a.loaded(one))
	}
}

// TestStoreAway: a gateway serves what it knows, says so, refuses changes, and
// catches up.
func TestStoreAway(t *testing.T) {
	all, _, _ := gateways(t, true, 2)
	runAll(all)
	a, b := all[0], all[1]
	a.mustImport("one", 1)
	within(t, patience, "one is on b", func() bool { return b.has("one") })
	b.store.set(true, true)
	for what, change := range map[string]func() error{
		"activate": func() error { _, err := b.manager.Activate(t.Context(), "one", "test"); return err },
		"rollback": func() error { _, err := b.manager.Rollback(t.Context(), "test"); return err },
		"remove":   func() error { _, err := b.manager.Remove(t.Context(), "one", "test"); return err },
		"import": func() error {
			_, err := b.manager.Import(t.Context(), lifecycle.Import{Bundle: b.bundle("two", 2)})
			return err
		},
	} {
		if err := change(); quality.KindOf(err) != quality.KindStoreUnavailable {
			t.Errorf("%s: %v, want store_unavailable", what, err)
		}
	}
	_, err := a.manager.Activate(t.Context(), "one", "test")
	must(t, err)
	if b.defaultName() != shippedName || !b.has("one") || b.manager.Standing().Store == nil {
		t.Errorf("default %s, standing %+v", b.defaultName(), b.manager.Standing())
	}
	b.servers[0].Forget()
	b.manager.Reconcile(t.Context())
	if err := b.manager.Failure(b.bundle("one", 1).Checkpoint().Digest); err != nil {
		t.Errorf("without the store, a lost head isn't loaded: %v", err)
	}
	b.store.set(false, false)
	within(t, patience, "b caught up",
		func() bool { return b.defaultName() == "one" && b.manager.Standing().Store == nil })
}

// TestChangesAtOnce: of two changes of the default one wins; changes that don't
// touch each other both happen.
func TestChangesAtOnce(t *testing.T) {
	all, store, _ := gateways(t, true, 2)
	a, b := all[0], all[1]
	a.mustImport("one", 1)
	a.mustImport("two", 2)
	must(t, b.manager.Sync(t.Context()))
	activate := func(r *rig, name string) error {
		_, err := r.manager.Activate(t.Context(), name, "test")
		return err
	}
	a.store.beforeNext(func() { must(t, activate(b, "two")) })
	err := activate(a, "one")
	wantKind(t, err, quality.KindConflict)
	if !strings.Contains(err.Error(), `somebody else made "two" the default at the same moment`) {
		t.Errorf("error %v", err)
	}
	a.store.beforeNext(func() { must(t, activate(b, "one")) })
	must(t, activate(a, "one")) // the same wish
	a.store.beforeNext(func() { b.mustImport("three", 3) })
	must(t, activate(a, "two"))
	a.store.beforeNext(func() {
		_, err := b.manager.Import(t.Context(), lifecycle.Import{Bundle: b.bundle("four", 40)})
		must(t, err)
	})
	_, err = a.manager.Import(t.Context(), lifecycle.Import{Bundle: a.bundle("four", 4)})
	wantKind(t, err, quality.KindConflict)
	a.store.beforeNext(func() {
		_, err := b.manager.Remove(t.Context(), "three", "test")
		must(t, err)
	})
	must(t, a.manager.Sync(t.Context()))
	wantKind(t, activate(a, "three"), quality.KindConflict)
	a.store.beforeNext(func() {
		_, err := b.manager.Remove(t.Context(), "four", "test")
		must(t, err)
		b.mustImport("four", 7)
	})
	wantKind(t, activate(a, "four"), quality.KindConflict) // another one has the name by now
	state, err := store.Desired(t.Context())
	must(t, err)
	if state.Default != "two" || len(state.Checkpoints) != 3 {
		t.Errorf("the end is %+v", state)
	}
}

// TestNameOfTheDefaultIsTakenAnew: while the new default can't be loaded, the old
// one scores, and not what has its name by now.
func TestNameOfTheDefaultIsTakenAnew(t *testing.T) {
	all, store, _ := gateways(t, true, 1)
	b := all[0]
	a := newRig(t, true).beside(store) // with other servers
	one, two, another := a.mustImport("one", 1), a.bundle("two", 2), a.bundle("one", 3)
	_, err := a.manager.Activate(t.Context(), "one", "test")
	must(t, err)
	must(t, b.manager.Sync(t.Context()))
	for _, s := range b.servers {
		s.FailLoad(two.Checkpoint().HeadModel(), codes.InvalidArgument, "no memory")
	}
	_, err = a.manager.Import(t.Context(), lifecycle.Import{Bundle: two, Activate: true})
	must(t, err)
	_, err = a.manager.Remove(t.Context(), "one", "test")
	must(t, err)
	_, err = a.manager.Import(t.Context(), lifecycle.Import{Bundle: another})
	must(t, err)
	must(t, b.manager.Sync(t.Context()))
	must(t, b.manager.Sync(t.Context()))
	def, err := b.library.Default()
	must(t, err)
	if def.Checkpoint.Digest != one.Checkpoint().Digest || b.manager.Standing().Missing["two"] == nil {
		t.Errorf("the default is %s of %s, want the old one; standing %+v", def.Checkpoint.Name, def.Checkpoint.Digest,
			b.manager.Standing())
	}
	for _, s := range b.servers {
		s.FailLoad(two.Checkpoint().HeadModel(), codes.OK, "")
	}
	must(t, b.manager.Sync(t.Context()))
	now, err := b.library.Get("one")
	must(t, err)
	if b.defaultName() != "two" || now.Checkpoint.Digest != another.Checkpoint().Digest {
		t.Errorf("the default is %s, and one is %s", b.defaultName(), now.Checkpoint.Digest)
	}
}

// TestShippedElsewhere: what a gateway ships may be imported, and removed, on
// another one of an older release.
func TestShippedElsewhere(t *testing.T) {
	all, store, _ := gateways(t, true, 1)
	a := all[0]
	stop := a.run()
	one := a.mustImport("one", 1)
	newer := *a
	newer.dir, newer.store = filepath.Join(t.TempDir(), "checkpoints"), &faultyStore{Store: store}
	shipped, err := a.library.Snapshot().Get(shippedName)
	must(t, err)
	newer.open(shipped.Bundle, one)
	newer.run()
	within(t, patience, "the newer one holds it", func() bool {
		holders, err := store.Holders(t.Context(), one.Checkpoint().Digest)
		must(t, err)
		return len(holders) == 2
	})
	change, err := a.manager.Remove(t.Context(), "one", "test")
	must(t, err)
	stop() // after the last look at what should go
	if change.Unloaded || a.loaded(one) != 2 {
		t.Errorf("unloaded %t, and %d servers have what another gateway ships", change.Unloaded, a.loaded(one))
	}
}

// TestSlowUnloadCostsNoLease: leases are renewed while a server takes its time.
func TestSlowUnloadCostsNoLease(t *testing.T) {
	all, store, clock := gateways(t, true, 1)
	a := all[0]
	a.cfg.BeatInterval = 10 * time.Millisecond
	a = a.beside(store)
	a.mustImport("one", 1)
	two := a.mustImport("two", 2)
	a.run()
	unloading, proceed := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(unloading) })
	a.spy.beforeUnload(func() {
		once()
		<-proceed
	})
	removed := make(chan error, 1)
	go func() {
		_, err := a.manager.Remove(t.Context(), "one", "test")
		removed <- err
	}()
	<-unloading
	for range 5 { // each look at what should go renews once
		clock.forward(desired.LeaseTime + time.Second)
		within(t, patience, "the lease is renewed", func() bool {
			holders, err := store.Holders(t.Context(), two.Checkpoint().Digest)
			must(t, err)
			return len(holders) == 1
		})
	}
	close(proceed)
	must(t, <-removed)
}

// TestFolderThatCannotBeWritten costs the copy, and nothing else.
func TestFolderThatCannotBeWritten(t *testing.T) {
	all, _, _ := gateways(t, true, 2)
	a, b := all[0], all[1]
	must(t, os.RemoveAll(b.dir))
	must(t, os.WriteFile(b.dir, []byte("a file"), 0o600))
	one := a.mustImport("one", 1)
	_, err := a.manager.Activate(t.Context(), "one", "test")
	must(t, err)
	must(t, b.manager.Sync(t.Context()))
	b.mustImport("two", 2)
	if b.defaultName() != "one" || !b.has("two") || b.loaded(one) != 2 {
		t.Errorf("the default is %s, and two is there: %t", b.defaultName(), b.has("two"))
	}
	const want = "the data folder has no copy of the checkpoints"
	if !strings.Contains(b.log.String(), want) {
		t.Errorf("%q isn't in the log:\n%s", want, b.log)
	}
}

// TestRestoredStore: a database that was restored counts to a revision again, which
// is another state.
func TestRestoredStore(t *testing.T) {
	all, store, _ := gateways(t, true, 1)
	a := all[0]
	a.mustImport("one", 1)
	_, err := a.manager.Activate(t.Context(), "one", "test")
	must(t, err)
	was, err := store.Desired(t.Context())
	must(t, err)
	restored := desired.NewMemory("shared", true, time.Now)
	for n := range was.Revision {
		d := was.Document
		d.Default = shippedName
		_, err := restored.Replace(t.Context(), n, d)
		must(t, err)
	}
	a.store.Store = restored
	must(t, a.manager.Sync(t.Context()))
	if s := a.library.Snapshot(); s.Revision() != was.Revision || a.defaultName() != shippedName {
		t.Errorf("revision %d, default %s; want %d, %s", s.Revision(), a.defaultName(), was.Revision, shippedName)
	}
}

// TestSavedImportThatWasReportedAsFailed: its head stays where somebody serves it by
// now.
func TestSavedImportThatWasReportedAsFailed(t *testing.T) {
	for name, adopt := range map[string]func(a, b *rig) error{
		"by another gateway": func(_, b *rig) error { return b.manager.Sync(t.Context()) },
		"by this one":        func(a, _ *rig) error { return a.manager.Sync(t.Context()) },
	} {
		t.Run(name, func(t *testing.T) {
			all, _, _ := gateways(t, true, 2)
			a, b := all[0], all[1]
			one := a.bundle("one", 1)
			a.store.loseNext(func(err error) {
				must(t, err)
				must(t, adopt(a, b))
			})
			_, err := a.manager.Import(t.Context(), lifecycle.Import{Bundle: one})
			wantKind(t, err, quality.KindStoreUnavailable)
			if !strings.Contains(err.Error(), "step "+string(lifecycle.StepPersist)) {
				t.Errorf("error %v", err)
			}
			if a.loaded(one) != 2 {
				t.Errorf("%d servers have the head, want both", a.loaded(one))
			}
		})
	}
}

// TestTakeOver: what data folders hold that know no store is put into it.
func TestTakeOver(t *testing.T) {
	old := func(r *rig, s string, bundles ...*checkpoint.Bundle) string {
		dir := filepath.Join(r.t.TempDir(), "checkpoints")
		for _, b := range bundles {
			checkpointtest.WriteBundle(r.t, b, filepath.Join(dir, b.Checkpoint().Name))
		}
		if s != "" {
			must(r.t, os.WriteFile(filepath.Join(dir, lifecycle.StateFile), []byte(s), 0o600))
		}
		return dir
	}
	first := newRig(t, true)
	shipped, err := first.library.Snapshot().Get(shippedName)
	must(t, err)
	store := desired.NewMemory("shared", true, time.Now)
	start := func(dir string) *rig {
		r := *first
		r.dir, r.store = dir, &faultyStore{Store: store}
		r.open(shipped.Bundle)
		return &r
	}
	one, two, other := first.bundle("one", 1), first.bundle("two", 2), first.bundle("one", 3)
	dirA := old(first, `{"default":"one","previous":"shipped"}`, one)
	a := start(dirA)
	if got := choice(a.library.Snapshot()); got != [2]string{"one", shippedName} || a.library.Snapshot().Revision() != 1 {
		t.Errorf("default and previous %q, revision %d", got, a.library.Snapshot().Revision())
	}
	dirB := old(first, `{"default":"two"}`, two, other)
	b := start(dirB) // its default was another one: the store's stays
	if e, err := b.library.Get("one"); b.defaultName() != "one" || !b.has("two") || err != nil ||
		e.Checkpoint.Digest != one.Checkpoint().Digest {
		t.Errorf("default %s, two is there: %t, one is %s, %v", b.defaultName(), b.has("two"), e.Checkpoint.Digest, err)
	}
	aside := filepath.Join(dirB, ".kept", "one-"+other.Checkpoint().Digest.Short())
	if kept, err := checkpoint.Open(aside, checkpoint.DefaultLimits()); err != nil ||
		kept.Checkpoint().Digest != other.Checkpoint().Digest {
		t.Errorf("what was in the way is not kept: %v", err)
	}

	_, err = b.manager.Activate(t.Context(), shippedName, "test")
	must(t, err)
	_, err = b.manager.Remove(t.Context(), "one", "test")
	must(t, err)
	a = start(dirA) // what was removed while it was away stays removed
	if a.has("one") || !a.has("two") || a.defaultName() != shippedName {
		t.Errorf("one is there: %t, two: %t, default %s", a.has("one"), a.has("two"), a.defaultName())
	}
	// by a program that knows no store
	checkpointtest.WriteBundle(t, first.bundle("three", 9), filepath.Join(dirA, "three"))
	a = start(dirA)
	must(t, b.manager.Sync(t.Context()))
	if !a.has("three") || !b.has("three") {
		t.Error("what an older program imported is lost")
	}

	a.store.set(true, true)
	a.open(shipped.Bundle) // without the store: the copy
	if !a.has("two") || !a.has("three") || a.defaultName() != shippedName {
		t.Error("the copy in the data folder is not served")
	}

	empty := desired.NewMemory("another", true, time.Now) // as after a loss of the database
	b.store.Store = empty
	must(t, b.manager.Sync(t.Context()))
	state, err := empty.Desired(t.Context())
	must(t, err)
	if len(state.Checkpoints) != 2 || state.Default != shippedName || !b.has("three") {
		t.Errorf("the new store has %+v", state)
	}
}

// TestNothingKnown: without a copy and without a store that others use, the
// default isn't guessed.
func TestNothingKnown(t *testing.T) {
	all, store, _ := gateways(t, true, 1)
	all[0].mustImport("one", 1)
	_, err := all[0].manager.Activate(t.Context(), "one", "test")
	must(t, err)
	r := *all[0]
	r.dir = filepath.Join(t.TempDir(), "checkpoints")
	r.store = &faultyStore{Store: store, away: true}
	shipped, err := r.library.Snapshot().Get(shippedName)
	must(t, err)
	r.open(shipped.Bundle)
	_, err = r.library.Default()
	wantKind(t, err, quality.KindStoreUnavailable)
	if !r.has(shippedName) {
		t.Error("a checkpoint that is named can't score")
	}
	r.store.set(false, false)
	r.run()
	within(t, patience, "it follows", func() bool { return r.defaultName() == "one" })
}

// TestGatewaysConverge sends random changes to three gateways at once, of which
// one loses its store now and then, and wants all of them to end up the same, with
// what the store says on every server and nothing else.
func TestGatewaysConverge(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { testConverge(t, seed) })
	}
}

func testConverge(t *testing.T, seed uint64) {
	all, store, _ := gateways(t, true, 3)
	runAll(all)
	names := []string{"one", "two", "three", shippedName}
	var bundles []*checkpoint.Bundle
	for i, name := range names[:3] {
		bundles = append(bundles, all[0].bundle(name, uint64(i+1)))
	}
	var group sync.WaitGroup
	for i, r := range all {
		group.Go(func() {
			random := rand.New(rand.NewPCG(seed, uint64(i)))
			for range 25 {
				n := random.IntN(len(names))
				set, end := r.library.Begin()
				var err error
				switch what := random.IntN(10); {
				case what < 4 && n < 3:
					_, err = r.manager.Import(t.Context(), lifecycle.Import{Bundle: bundles[n], Activate: what == 0})
				case what < 6:
					_, err = r.manager.Activate(t.Context(), names[n], "test")
				case what < 7:
					_, err = r.manager.Rollback(t.Context(), "test")
				case what < 9:
					_, err = r.manager.Remove(t.Context(), names[n], "test")
				case i == 2:
					r.store.set(random.IntN(2) == 0, false)
				}
				if def, err := set.Default(); err != nil {
					t.Errorf("no default: %v", err)
				} else if r.loadedEntry(def) != 2 {
					t.Errorf("the default %s of gateway %d isn't on every server", def.Checkpoint.Name, i)
				}
				end()
				allowed := []quality.Kind{quality.KindConflict, quality.KindCheckpointNotFound, quality.KindStoreUnavailable}
				if err != nil && !slices.Contains(allowed, quality.KindOf(err)) {
					t.Errorf("gateway %d: %v", i, err)
				}
			}
			r.store.set(false, false)
		})
	}
	group.Wait()
	state, err := store.Desired(t.Context())
	must(t, err)
	for i, r := range all {
		within(t, patience, fmt.Sprintf("gateway %d is what the store says", i), func() bool {
			s := r.library.Snapshot()
			return s.Revision() == state.Revision && (state.Default == "" || r.defaultName() == state.Default) &&
				len(s.List()) == 1+len(state.Checkpoints)
		})
	}
	for i, b := range bundles {
		want := 0
		if state.Has(b.Checkpoint().Digest) {
			want = 2
		}
		within(t, patience, fmt.Sprintf("%s is on %d servers", names[i], want),
			func() bool { return all[0].loaded(b) == want })
	}
}

func (r *rig) loadedEntry(e lifecycle.Entry) int { return r.loaded(e.Bundle) }
