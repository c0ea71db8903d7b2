// Package storetest holds the suite that every experiment.Store must pass, and a
// SQLite store for the tests of packages that use one.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Clock is a clock that stands until it is moved.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock returns a clock that shows the time of [NewExposure] and
// [NewFeedback].
func NewClock() *Clock { return &Clock{now: noon} }

// Now returns the time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Add moves the clock.
func (c *Clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Run checks the contract of experiment.Store. Each subtest gets an empty
// store of its own from open, which closes it when the subtest ends; the store
// takes the time from clock. Run it under the race detector.
func Run(t *testing.T, open func(t *testing.T, clock *Clock) experiment.Store) {
	t.Helper()
	for _, test := range []struct {
		name string
		run  func(*testing.T, experiment.Store, *Clock)
	}{
		{"an experiment comes back as it was", testExperiment},
		{"an id is taken once", testTaken},
		{"the oldest experiment is listed first", testList},
		{"a swap is made against a revision and leaves an audit", testSwap},
		{"of several controllers one wins", testRace},
		{"a swap beside others is made against theirs too", testBeside},
		{"of several that start beside each other one is first", testBesideRace},
		{"a deletion is made against a revision and leaves nothing", testDelete},
		{"an exposure comes back as it was", testExposure},
		{"an exposure is written once", testExposureOnce},
		{"a log is read in the order of writing, from any place", testLog},
		{"a log may be written while it is read", testWriteWhileReading},
		{"an image's exposure is the latest, of a running experiment if there is one", testByImage},
		{"feedback comes back as it was", testFeedback},
		{"a key is used once", testKey},
		{"a key that many use at once is used once", testKeyRace},
		{"a task is answered once", testTask},
		{"sightings are the images of exposures", testSightings},
		{"orphans are bounded by sender and in total", testOrphanLimits},
		{"an orphan is joined when its exposure appears", testOrphans},
		{"a joined orphan stands at the end of the log", testOrphanPlace},
		{"an orphan whose exposure is known is none", testNoOrphan},
		{"an orphan expires", testOrphanExpires},
		{"feedback long after its exposure is late", testLate},
		{"concurrent appends are all there, once", testConcurrent},
		{"a record that cannot be written fails alone", testPoison},
		{"nothing is done for a caller who has left", testLeft},
	} {
		t.Run(test.name, func(t *testing.T) {
			clock := NewClock()
			test.run(t, open(t, clock), clock)
		})
	}
}

func testExperiment(t *testing.T, s experiment.Store, _ *Clock) {
	want := NewExperiment("full")
	create(t, s, want)
	got, err := s.Get(t.Context(), "full")
	same(t, "Get", got, want, err)
	trail, err := s.Audits(t.Context(), "full")
	same(t, "Audits", trail, []experiment.Audit{AuditOf(want, "create")}, err)

	_, err = s.Get(t.Context(), "other")
	wantKind(t, "Get of an unknown id", err, quality.KindNotFound)
	trail, err = s.Audits(t.Context(), "other")
	same(t, "Audits of an unknown id", trail, nil, err)
}

func testTaken(t *testing.T, s experiment.Store, _ *Clock) {
	first := NewExperiment("x")
	create(t, s, first)
	second := NewExperiment("x")
	second.Name = "another"
	wantKind(t, "Create with an id that is taken",
		s.Create(t.Context(), second, AuditOf(second, "create")), quality.KindConflict)
	got, err := s.Get(t.Context(), "x")
	same(t, "Get", got, first, err)
	trail, err := s.Audits(t.Context(), "x")
	same(t, "Audits", trail, []experiment.Audit{AuditOf(first, "create")}, err)
}

func testDelete(t *testing.T, s experiment.Store, _ *Clock) {
	e, other := NewExperiment("x"), NewExperiment("other")
	create(t, s, e)
	create(t, s, other)
	wantKind(t, "Delete against another revision", s.Delete(t.Context(), "x", 2), quality.KindConflict)
	wantKind(t, "Delete of an unknown id", s.Delete(t.Context(), "unknown", 1), quality.KindNotFound)
	if err := s.Delete(t.Context(), "x", 1); err != nil {
		t.Fatalf("Delete: %v", err)
	}
	_, err := s.Get(t.Context(), "x")
	wantKind(t, "Get of what was deleted", err, quality.KindNotFound)
	trail, err := s.Audits(t.Context(), "x")
	same(t, "Audits of what was deleted", trail, nil, err)
	wantKind(t, "Delete again", s.Delete(t.Context(), "x", 1), quality.KindNotFound)
	create(t, s, e) // the id is free
	all, err := s.List(t.Context())
	same(t, "List", len(all), 2, err)
	trail, err = s.Audits(t.Context(), "other")
	same(t, "Audits of the other", trail, []experiment.Audit{AuditOf(other, "create")}, err)
}

func testList(t *testing.T, s experiment.Store, _ *Clock) {
	all, err := s.List(t.Context())
	same(t, "List of none", len(all), 0, err)
	for i, id := range []experiment.ID{"b", "c", "a"} {
		e := NewExperiment(id)
		e.Created = noon.Add(time.Duration(-i) * time.Hour)
		create(t, s, e)
	}
	all, err = s.List(t.Context())
	var listed []experiment.ID
	for _, e := range all {
		listed = append(listed, e.ID)
	}
	same(t, "List", listed, []experiment.ID{"a", "c", "b"}, err)
}

func testSwap(t *testing.T, s experiment.Store, _ *Clock) {
	e := NewExperiment("x")
	create(t, s, e)
	next := e
	next.Revision, next.State = 2, experiment.Paused
	if err := s.Swap(t.Context(), 1, next, AuditOf(next, "pause")); err != nil {
		t.Fatalf("Swap: %v", err)
	}
	stale := e
	stale.Revision, stale.State = 2, experiment.Stopped
	wantKind(t, "Swap against an old revision",
		s.Swap(t.Context(), 1, stale, AuditOf(stale, "stop")), quality.KindConflict)
	got, err := s.Get(t.Context(), "x")
	same(t, "Get", got, next, err)
	trail, err := s.Audits(t.Context(), "x")
	same(t, "Audits", trail, []experiment.Audit{AuditOf(e, "create"), AuditOf(next, "pause")}, err)

	wantKind(t, "Swap with the audit of another revision",
		s.Swap(t.Context(), 2, next, AuditOf(e, "stop")), quality.KindInternal)
	unknown := NewExperiment("unknown")
	unknown.Revision = 2
	wantKind(t, "Swap of an unknown id", s.Swap(t.Context(), 1, unknown, AuditOf(unknown, "start")), quality.KindNotFound)
}

func testRace(t *testing.T, s experiment.Store, _ *Clock) {
	const controllers, revisions = 4, 5
	e := NewExperiment("x")
	create(t, s, e)
	for revision := range int64(revisions) {
		var group sync.WaitGroup
		var won atomic.Int32
		for range controllers {
			group.Go(func() {
				next := e
				next.Revision = revision + 2
				switch err := s.Swap(t.Context(), revision+1, next, AuditOf(next, "ramp")); {
				case err == nil:
					won.Add(1)
				case quality.KindOf(err) != quality.KindConflict:
					t.Errorf("Swap: %v, want conflict", err)
				}
			})
		}
		group.Wait()
		if won.Load() != 1 {
			t.Fatalf("%d of %d controllers made revision %d", won.Load(), controllers, revision+2)
		}
	}
	if trail, err := s.Audits(t.Context(), "x"); err != nil || len(trail) != revisions+1 {
		t.Errorf("%d audits, %v; want %d", len(trail), err, revisions+1)
	}
}

// drafted creates drafts.
func drafted(t *testing.T, s experiment.Store, ids ...experiment.ID) map[experiment.ID]experiment.Experiment {
	t.Helper()
	all := map[experiment.ID]experiment.Experiment{}
	for _, id := range ids {
		e := NewExperiment(id)
		e.State = experiment.Draft
		create(t, s, e)
		all[id] = e
	}
	return all
}

// following is an experiment in its next state.
func following(e experiment.Experiment, state experiment.State) experiment.Experiment {
	e.State, e.Revision = state, e.Revision+1
	return e
}

func testBeside(t *testing.T, s experiment.Store, _ *Clock) {
	type open = map[experiment.ID]int64
	all := drafted(t, s, "a", "b", "c")
	start := func(id experiment.ID, beside open) error {
		e := following(all[id], experiment.Running)
		return s.SwapBeside(t.Context(), 1, e, AuditOf(e, "start"), beside)
	}
	refused := func(what string, err error) {
		t.Helper()
		wantKind(t, what, err, quality.KindConflict)
		if !errors.Is(err, experiment.ErrOthersChanged) {
			t.Errorf("%s: the cause isn't that others have changed: %v", what, err)
		}
	}
	swap := func(was int64, state experiment.State) {
		t.Helper()
		e := all["a"]
		e.Revision = was
		e = following(e, state)
		if err := s.Swap(t.Context(), was, e, AuditOf(e, "change")); err != nil {
			t.Fatal(err)
		}
	}
	refused("one that isn't there", start("a", open{"gone": 1}))
	refused("a draft, which isn't open", start("a", open{"b": 1}))
	if err := start("a", open{}); err != nil {
		t.Fatal(err)
	}
	refused("one that has started since", start("b", open{}))
	refused("one at another revision", start("b", open{"a": 1}))
	swap(2, experiment.Paused)
	refused("one that was paused since", start("b", open{"a": 2}))
	got, err := s.Get(t.Context(), "b")
	same(t, "what was refused", got, all["b"], err)
	trail, err := s.Audits(t.Context(), "b")
	same(t, "audits of what was refused", trail, []experiment.Audit{AuditOf(all["b"], "create")}, err)
	if err := start("b", open{"a": 3}); err != nil {
		t.Fatal(err)
	}
	swap(3, experiment.Stopped)
	if err := start("c", open{"b": 2}); err != nil { // what has ended is in nobody's way
		t.Fatal(err)
	}
	err = start("c", open{"b": 2}) // it has started
	wantKind(t, "another revision of its own", err, quality.KindConflict)
	if errors.Is(err, experiment.ErrOthersChanged) {
		t.Errorf("another revision of its own: %v", err)
	}
}

func testBesideRace(t *testing.T, s experiment.Store, _ *Clock) { StartAtOnce(t, s) }

// StartAtOnce starts experiments at the same moment, by several stores of one
// database, each beside none. Only the first one may start.
func StartAtOnce(t *testing.T, stores ...experiment.Store) {
	t.Helper()
	const rounds, starts = 5, 12
	for round := range rounds {
		var ids []experiment.ID
		for n := range starts {
			ids = append(ids, experiment.ID(fmt.Sprintf("x%d-%d", round, n)))
		}
		all := drafted(t, stores[0], ids...)
		var group sync.WaitGroup
		var mu sync.Mutex
		var started []experiment.Experiment
		for n, id := range ids {
			group.Go(func() {
				e := following(all[id], experiment.Running)
				err := stores[n%len(stores)].SwapBeside(t.Context(), 1, e, AuditOf(e, "start"), map[experiment.ID]int64{})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					started = append(started, e)
				} else if !errors.Is(err, experiment.ErrOthersChanged) {
					t.Errorf("SwapBeside: %v", err)
				}
			})
		}
		group.Wait()
		if len(started) != 1 {
			t.Fatalf("%d of %d experiments started beside none", len(started), starts)
		}
		ended := following(started[0], experiment.Stopped)
		if err := stores[0].Swap(t.Context(), started[0].Revision, ended, AuditOf(ended, "stop")); err != nil {
			t.Fatal(err)
		}
	}
}

func testExposure(t *testing.T, s experiment.Store, _ *Clock) {
	want := NewExposure("x", 1)
	want.Slices = map[string]string{"style": "öl \x00 \U0001f3a8", "": "'; DROP TABLE exposures; --"}
	want.Scores = append(want.Scores, experiment.ArmScore{Arm: "c", Fault: "nan"})
	expose(t, s, want)
	got, err := s.ByAssignment(t.Context(), want.Assignment)
	same(t, "ByAssignment", got, want, err)
	same(t, "Exposures", exposures(t, s, "x", 0), []experiment.Exposure{want}, nil)
	for _, unknown := range []string{"other", ""} {
		_, err = s.ByAssignment(t.Context(), unknown)
		wantKind(t, "ByAssignment of an unknown one", err, quality.KindNotFound)
	}
}

func testExposureOnce(t *testing.T, s experiment.Store, _ *Clock) {
	first := NewExposure("x", 1)
	changed := first
	changed.Shown = "b"
	expose(t, s, first)
	expose(t, s, changed, NewExposure("x", 2), NewExposure("x", 2))
	expose(t, s)
	same(t, "Exposures", exposures(t, s, "x", 0), []experiment.Exposure{first, NewExposure("x", 2)}, nil)
}

// testLog writes more records than a store may read at once.
func testLog(t *testing.T, s experiment.Store, _ *Clock) {
	const records = 1100
	var mine, others []experiment.Exposure
	for i := range records {
		mine = append(mine, NewExposure("x", i))
		others = append(others, NewExposure("y", i))
	}
	for i := 0; i < records; i += 100 {
		expose(t, s, mine[i:i+100]...)
		expose(t, s, others[i:i+100]...)
	}
	same(t, "all", ids(exposures(t, s, "x", 0)), ids(mine), nil)

	var place, last int64
	n := 0
	for r, err := range s.Exposures(t.Context(), "x", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if r.Seq <= last {
			t.Fatalf("place %d after %d", r.Seq, last)
		}
		last = r.Seq
		if n++; n == 700 {
			place = r.Seq
			break
		}
	}
	same(t, "from a place", ids(exposures(t, s, "x", place)), ids(mine[700:]), nil)
	same(t, "of nobody", exposures(t, s, "", 0), nil, nil)
}

func testWriteWhileReading(t *testing.T, s experiment.Store, _ *Clock) {
	create(t, s, NewExperiment("x"))
	for i := range 3 {
		expose(t, s, NewExposure("x", i))
	}
	n := 0
	for r, err := range s.Exposures(t.Context(), "x", 0) {
		if err != nil {
			t.Fatal(err)
		}
		if n < 3 {
			same(t, "a record", r.Record, NewExposure("x", n), nil)
		}
		expose(t, s, NewExposure("x", 1000+n)) // whether the walk sees it is open
		label(t, s, NewFeedback("x", n))
		if n++; n == 5 {
			break
		}
	}
	same(t, "feedback", len(feedback(t, s, "x", 0)), n, nil)
}

func testByImage(t *testing.T, s experiment.Store, _ *Clock) {
	for _, id := range []experiment.ID{"x", "y"} {
		create(t, s, NewExperiment(id))
	}
	first, second, elsewhere := NewExposure("x", 1), NewExposure("x", 2), NewExposure("y", 3)
	second.Image, elsewhere.Image = first.Image, first.Image
	unknown := NewExposure("nowhere", 4)
	unknown.Image = first.Image
	expose(t, s, first, second, elsewhere, unknown)

	got, err := s.ByImage(t.Context(), first.Image)
	same(t, "the latest", got, elsewhere, err)
	y := NewExperiment("y")
	y.Revision, y.State = 2, experiment.Stopped
	if err := s.Swap(t.Context(), 1, y, AuditOf(y, "stop")); err != nil {
		t.Fatal(err)
	}
	got, err = s.ByImage(t.Context(), first.Image)
	same(t, "the latest of a running one", got, second, err)
	x := NewExperiment("x")
	x.Revision, x.State = 2, experiment.Paused
	if err := s.Swap(t.Context(), 1, x, AuditOf(x, "pause")); err != nil {
		t.Fatal(err)
	}
	got, err = s.ByImage(t.Context(), first.Image)
	same(t, "the latest where none is running", got, elsewhere, err)

	nothing := NewExposure("x", 5)
	nothing.Image = quality.Digest{}
	expose(t, s, nothing)
	for name, d := range map[string]quality.Digest{"unknown": quality.DigestOf([]byte("?")), "none": {}} {
		_, err = s.ByImage(t.Context(), d)
		wantKind(t, "ByImage of an image that is "+name, err, quality.KindNotFound)
	}
}

func testFeedback(t *testing.T, s experiment.Store, _ *Clock) {
	mos, pair := NewFeedback("x", 1), NewFeedback("x", 2)
	pair.Kind, pair.Winner, pair.Image = experiment.Pair, "tie", quality.Digest{}
	pair.ImageA, pair.ImageB = quality.DigestOf([]byte("a")), quality.DigestOf([]byte("b"))
	for _, f := range []experiment.Feedback{mos, pair} {
		r, err := s.AppendFeedback(t.Context(), f)
		same(t, "AppendFeedback", r, experiment.Receipt{Feedback: f}, err)
	}
	label(t, s, NewFeedback("y", 3))
	same(t, "Feedback", feedback(t, s, "x", 0), []experiment.Feedback{mos, pair}, nil)
}

func testKey(t *testing.T, s experiment.Store, _ *Clock) {
	first := NewFeedback("x", 1)
	label(t, s, first)

	again := first
	again.ID, again.Time = "another", first.Time.Add(time.Minute)
	r, err := s.AppendFeedback(t.Context(), again)
	same(t, "the same body", r, experiment.Receipt{Feedback: first, Duplicate: true}, err)

	other := first
	other.Body = quality.DigestOf([]byte("another body"))
	_, err = s.AppendFeedback(t.Context(), other)
	wantKind(t, "another body", err, quality.KindConflict)
	same(t, "Feedback", feedback(t, s, "x", 0), []experiment.Feedback{first}, nil)
}

func testKeyRace(t *testing.T, s experiment.Store, _ *Clock) {
	const callers = 8
	var group sync.WaitGroup
	var fresh, duplicate, conflict atomic.Int32
	for i := range callers {
		group.Go(func() {
			f := NewFeedback("x", 1)
			f.ID = fmt.Sprint("id-", i)
			if i%4 == 3 {
				f.Body = quality.DigestOf([]byte("another body"))
			}
			r, err := s.AppendFeedback(t.Context(), f)
			switch {
			case err == nil && r.Duplicate:
				duplicate.Add(1)
			case err == nil:
				fresh.Add(1)
			case quality.KindOf(err) == quality.KindConflict:
				conflict.Add(1)
			default:
				t.Errorf("AppendFeedback: %v", err)
			}
		})
	}
	group.Wait()
	// Whichever body came first, the others with it are duplicates.
	if d, c := duplicate.Load(), conflict.Load(); fresh.Load() != 1 || d+c != callers-1 || (c != 2 && c != 6) {
		t.Errorf("%d new, %d duplicates, %d conflicts among %d", fresh.Load(), d, c, callers)
	}
	if n := len(feedback(t, s, "x", 0)); n != 1 {
		t.Errorf("%d records", n)
	}
}

func testTask(t *testing.T, s experiment.Store, _ *Clock) {
	first := NewFeedback("x", 1)
	label(t, s, first)
	again := NewFeedback("x", 2)
	again.Task = first.Task
	_, err := s.AppendFeedback(t.Context(), again)
	wantKind(t, "the same task under another key", err, quality.KindConflict)
	r, err := s.AppendFeedback(t.Context(), first)
	same(t, "the same label again", r, experiment.Receipt{Feedback: first, Duplicate: true}, err)
	same(t, "Feedback", feedback(t, s, "x", 0), []experiment.Feedback{first}, nil)

	// Labels that answer no task do not exclude each other.
	open := []experiment.Feedback{NewFeedback("y", 1), NewFeedback("y", 2)}
	for i := range open {
		open[i].Task, open[i].Blind = "", false
		label(t, s, open[i])
	}
	same(t, "Feedback without tasks", feedback(t, s, "y", 0), open, nil)
}

func testSightings(t *testing.T, s experiment.Store, _ *Clock) {
	x, y, over := NewExperiment("x"), NewExperiment("y"), NewExperiment("over")
	y.State, over.State = experiment.Paused, experiment.Stopped
	for _, e := range []experiment.Experiment{x, y, over} {
		create(t, s, e)
	}
	image := NewExposure("x", 1).Image
	var want []experiment.Sighting
	for i, blind := range []bool{true, true, false} {
		e := NewExposure("x", 10+i)
		e.Image, e.Blind = image, blind
		expose(t, s, e)
		want = append(want, experiment.Sighting{Experiment: "x", Image: image, Blind: blind})
	}
	for i, id := range []experiment.ID{"y", "over"} {
		e := NewExposure(id, 20+i)
		e.Image = image
		expose(t, s, e)
	}
	expose(t, s, NewExposure("y", 30)) // another image
	read := func(after int64) (all []experiment.Sighting, last int64) {
		for r, err := range s.Sightings(t.Context(), "x", after) {
			if err != nil {
				t.Fatal(err)
			}
			all, last = append(all, r.Record), r.Seq
		}
		return all, last
	}
	got, last := read(0)
	same(t, "Sightings", got, want, nil)
	got, _ = read(last)
	same(t, "Sightings from the last place", got, nil, nil)

	ways := map[experiment.Sighting]int{}
	all, err := s.SightingsOf(t.Context(), image)
	for _, one := range all {
		ways[one]++
	}
	same(t, "SightingsOf", ways, map[experiment.Sighting]int{
		want[0]: 1, want[2]: 1, {Experiment: "y", Image: image, Blind: true}: 1,
	}, err)
	all, err = s.SightingsOf(t.Context(), quality.DigestOf([]byte("never seen")))
	same(t, "SightingsOf a stranger", all, nil, err)
}

func testOrphanLimits(t *testing.T, s experiment.Store, _ *Clock) {
	// As many at once as the store writes together, so that a bound that is looked
	// at once for all of them is found out.
	var group sync.WaitGroup
	var refused atomic.Int32
	for i := range experiment.MaxOrphansOf + 50 {
		group.Go(func() {
			_, err := s.AppendFeedback(t.Context(), NewOrphan(i))
			switch {
			case errors.Is(err, experiment.ErrOrphansOf) && quality.KindOf(err) == quality.KindRateLimited:
				refused.Add(1)
			case err != nil:
				t.Errorf("AppendFeedback of orphan %d: %v", i, err)
			}
		})
	}
	group.Wait()
	if n := refused.Load(); n != 50 {
		t.Errorf("%d orphans of one sender are refused, want 50", n)
	}
	other := NewOrphan(5000)
	other.Sender = "another sender"
	label(t, s, other)
	label(t, s, NewFeedback("x", 5001)) // of the sender, and no orphan
	r, err := s.AppendFeedback(t.Context(), other)
	same(t, "the same orphan again", r, experiment.Receipt{Feedback: other, Duplicate: true}, err)

	large := NewOrphan(5002)
	large.Sender, large.Rater = "a third sender", strings.Repeat("r", experiment.MaxOrphanBytesOf/4)
	for i := range 4 {
		large.Key = fmt.Sprint("large ", i)
		_, err = s.AppendFeedback(t.Context(), large)
	}
	if !errors.Is(err, experiment.ErrOrphansOf) {
		t.Errorf("a sender's orphan of too many bytes: %v", err)
	}
	if testing.Short() {
		return
	}
	refused.Store(0)
	for worker := range 100 {
		group.Go(func() {
			for i := range experiment.MaxOrphans / 100 {
				f := NewOrphan(10_000 + 1000*worker + i)
				f.Sender = fmt.Sprint("sender ", worker)
				switch _, err := s.AppendFeedback(t.Context(), f); {
				case errors.Is(err, experiment.ErrOrphans):
					refused.Add(1)
				case err != nil:
					t.Errorf("AppendFeedback of an orphan: %v", err)
				}
			}
		})
	}
	group.Wait()
	if there := experiment.MaxOrphansOf + 1 + 3; int(refused.Load()) != there {
		t.Errorf("%d orphans are refused in total, want %d", refused.Load(), there)
	}
}

func testOrphans(t *testing.T, s experiment.Store, _ *Clock) {
	byImage, byAssignment, pair, stranger := NewOrphan(1), NewOrphan(2), NewOrphan(3), NewOrphan(4)
	seen := NewExposure("x", 9)
	byImage.Image = seen.Image
	byAssignment.Assignment, byAssignment.Image = seen.Assignment, quality.Digest{}
	pair.Image, pair.ImageA, pair.ImageB = quality.Digest{}, quality.DigestOf([]byte("unseen")), seen.Image
	elsewhere := NewOrphan(5) // names an assignment, so that the image does not count
	elsewhere.Assignment, elsewhere.Image = "never", seen.Image
	for _, f := range []experiment.Feedback{byImage, byAssignment, pair, stranger, elsewhere} {
		r, err := s.AppendFeedback(t.Context(), f)
		same(t, "AppendFeedback of an orphan", r, experiment.Receipt{Feedback: f}, err)
	}
	same(t, "Feedback while orphans", feedback(t, s, "x", 0), nil, nil)
	same(t, "Feedback of nobody", feedback(t, s, "", 0), nil, nil)

	expose(t, s, seen)
	want := []experiment.Feedback{byImage.Joined(seen), byAssignment.Joined(seen), pair.Joined(seen)}
	same(t, "Feedback when joined", feedback(t, s, "x", 0), want, nil)
	r, err := s.AppendFeedback(t.Context(), byImage)
	same(t, "the same orphan again", r, experiment.Receipt{Feedback: want[0], Duplicate: true}, err)

	later := NewExposure("y", 10)
	later.Image = seen.Image
	expose(t, s, later)
	same(t, "Feedback of another experiment", feedback(t, s, "y", 0), nil, nil)
}

func testOrphanPlace(t *testing.T, s experiment.Store, _ *Clock) {
	orphan, seen := NewOrphan(1), NewExposure("x", 9)
	orphan.Image = seen.Image
	label(t, s, orphan)
	label(t, s, NewFeedback("x", 2))
	var last int64
	for r, err := range s.Feedback(t.Context(), "x", 0) {
		if err != nil {
			t.Fatal(err)
		}
		last = r.Seq
	}
	expose(t, s, seen)
	same(t, "Feedback from the last place", feedback(t, s, "x", last), []experiment.Feedback{orphan.Joined(seen)}, nil)
}

func testNoOrphan(t *testing.T, s experiment.Store, _ *Clock) {
	create(t, s, NewExperiment("x"))
	seen := NewExposure("x", 1)
	expose(t, s, seen)
	byImage, byAssignment := NewOrphan(2), NewOrphan(3)
	byImage.Image, byAssignment.Assignment = seen.Image, seen.Assignment
	for _, f := range []experiment.Feedback{byImage, byAssignment} {
		r, err := s.AppendFeedback(t.Context(), f)
		same(t, "AppendFeedback", r, experiment.Receipt{Feedback: f.Joined(seen)}, err)
	}
}

func testOrphanExpires(t *testing.T, s experiment.Store, clock *Clock) {
	orphan, seen := NewOrphan(1), NewExposure("x", 9)
	orphan.Image = seen.Image
	label(t, s, orphan)
	clock.Add(experiment.OrphanFor + time.Second)
	expose(t, s, seen)
	same(t, "Feedback", feedback(t, s, "x", 0), nil, nil)

	// Its key is free again.
	other := NewFeedback("x", 2)
	other.Key, other.Time = orphan.Key, clock.Now()
	r, err := s.AppendFeedback(t.Context(), other)
	same(t, "AppendFeedback with its key", r, experiment.Receipt{Feedback: other}, err)
}

func testLate(t *testing.T, s experiment.Store, clock *Clock) {
	create(t, s, NewExperiment("x"))
	seen := NewExposure("x", 1)
	expose(t, s, seen)
	clock.Add(experiment.LateAfter + time.Minute)
	f := NewOrphan(2)
	f.Image, f.Time = seen.Image, clock.Now()
	r, err := s.AppendFeedback(t.Context(), f)
	same(t, "AppendFeedback", r.Feedback.State, experiment.Late, err)
}

func testConcurrent(t *testing.T, s experiment.Store, _ *Clock) {
	const writers, each = 8, 20
	var group sync.WaitGroup
	for w := range writers {
		group.Go(func() {
			for i := range each {
				n := w*each + i
				if err := s.AppendExposures(t.Context(), []experiment.Exposure{NewExposure("x", n)}); err != nil {
					t.Errorf("AppendExposures: %v", err)
				}
				if _, err := s.AppendFeedback(t.Context(), NewFeedback("x", n)); err != nil {
					t.Errorf("AppendFeedback: %v", err)
				}
			}
		})
	}
	group.Wait()
	seen := make(map[string]int)
	for _, e := range exposures(t, s, "x", 0) {
		seen[e.ID]++
	}
	for _, f := range feedback(t, s, "x", 0) {
		seen[f.ID]++
	}
	for n := range writers * each {
		for _, id := range []string{NewExposure("x", n).ID, NewFeedback("x", n).ID} {
			if seen[id] != 1 {
				t.Errorf("%s is there %d times", id, seen[id])
			}
		}
	}
}

func testPoison(t *testing.T, s experiment.Store, _ *Clock) {
	var group sync.WaitGroup
	for i := range 10 {
		group.Go(func() {
			e, f := NewExposure("x", i), NewFeedback("x", i)
			if i == 3 {
				e.Scores[0].Score, f.Value = float32(math.NaN()), math.Inf(1)
			}
			err := s.AppendExposures(t.Context(), []experiment.Exposure{e})
			if (err != nil) != (i == 3) {
				t.Errorf("AppendExposures of %d: %v", i, err)
			}
			if _, err = s.AppendFeedback(t.Context(), f); (err != nil) != (i == 3) {
				t.Errorf("AppendFeedback of %d: %v", i, err)
			}
		})
	}
	group.Wait()
	if e, f := len(exposures(t, s, "x", 0)), len(feedback(t, s, "x", 0)); e != 9 || f != 9 {
		t.Errorf("%d exposures and %d pieces of feedback, want 9 and 9", e, f)
	}
}

func testLeft(t *testing.T, s experiment.Store, _ *Clock) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	e := NewExperiment("x")
	_, get := s.Get(ctx, "x")
	_, list := s.List(ctx)
	_, audits := s.Audits(ctx, "x")
	_, assignment := s.ByAssignment(ctx, "x")
	_, image := s.ByImage(ctx, quality.DigestOf(nil))
	_, append := s.AppendFeedback(ctx, NewFeedback("x", 1))
	var walk error
	for _, err := range s.Exposures(ctx, "x", 0) {
		walk = err
	}
	for name, err := range map[string]error{
		"Create":          s.Create(ctx, e, AuditOf(e, "create")),
		"Get":             get,
		"List":            list,
		"Swap":            s.Swap(ctx, 1, e, AuditOf(e, "start")),
		"Audits":          audits,
		"AppendExposures": s.AppendExposures(ctx, []experiment.Exposure{NewExposure("x", 1)}),
		"AppendFeedback":  append,
		"ByAssignment":    assignment,
		"ByImage":         image,
		"Exposures":       walk,
	} {
		wantKind(t, name, err, quality.KindClientClosedRequest)
	}
	if _, err := s.Get(t.Context(), "x"); quality.KindOf(err) != quality.KindNotFound {
		t.Errorf("Get afterwards: %v, want not_found", err)
	}
}

func create(t *testing.T, s experiment.Store, e experiment.Experiment) {
	t.Helper()
	if err := s.Create(t.Context(), e, AuditOf(e, "create")); err != nil {
		t.Fatalf("Create(%q): %v", e.ID, err)
	}
}

func expose(t *testing.T, s experiment.Store, all ...experiment.Exposure) {
	t.Helper()
	if err := s.AppendExposures(t.Context(), all); err != nil {
		t.Fatalf("AppendExposures: %v", err)
	}
}

func label(t *testing.T, s experiment.Store, f experiment.Feedback) {
	t.Helper()
	r, err := s.AppendFeedback(t.Context(), f)
	same(t, "AppendFeedback", r, experiment.Receipt{Feedback: f}, err)
}

func exposures(t *testing.T, s experiment.Store, id experiment.ID, after int64) []experiment.Exposure {
	t.Helper()
	var all []experiment.Exposure
	for r, err := range s.Exposures(t.Context(), id, after) {
		if err != nil {
			t.Fatalf("Exposures: %v", err)
		}
		all = append(all, r.Record)
	}
	return all
}

func ids(exposures []experiment.Exposure) []string {
	var all []string
	for _, e := range exposures {
		all = append(all, e.ID)
	}
	return all
}

func feedback(t *testing.T, s experiment.Store, id experiment.ID, after int64) []experiment.Feedback {
	t.Helper()
	var all []experiment.Feedback
	for r, err := range s.Feedback(t.Context(), id, after) {
		if err != nil {
			t.Fatalf("Feedback: %v", err)
		}
		all = append(all, r.Record)
	}
	return all
}

func same[T any](t *testing.T, what string, got, want T, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func wantKind(t *testing.T, what string, err error, kind quality.Kind) {
	t.Helper()
	if _, ok := errors.AsType[*quality.Error](err); !ok || quality.KindOf(err) != kind {
		t.Errorf("%s: %v, want a *quality.Error of kind %s", what, err, kind)
	}
}
