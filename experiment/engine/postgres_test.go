//go:build unix

package engine_test

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/postgrestest"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/quality"
)

// TestPostgreSQLTellsTheTime: the clock of a gateway decides nothing; that of the
// database does. One gateway's clock is a day ahead, or behind, or jumps there.
func TestPostgreSQLTellsTheTime(t *testing.T) {
	t.Parallel()
	database := postgrestest.Start(t).URL()
	connect := func(c *clock) (*server, *sqlstore.Store) {
		cfg := sqlstore.DefaultConfig()
		cfg.URL = database
		store, err := sqlstore.Open(t.Context(), cfg)
		must(t, err)
		t.Cleanup(func() { must(t, store.Close()) })
		s := newServer(t, store, c, sound)
		must(t, s.Refresh(t.Context()))
		return s, store
	}
	right, wrong := &clock{t: time.Now()}, &clock{t: time.Now()}
	a, _ := connect(right)
	b, store := connect(wrong)
	_, err := a.Create(t.Context(), []byte(definition+"max_duration: 20h\n"), "me")
	must(t, err)
	_, err = a.Start(t.Context(), "sharper", "me")
	must(t, err)
	value := 3.0
	orphan := engine.Label{By: app, Key: "early", Image: digest("later"), Rater: "r", Kind: experiment.MOS, Value: &value}
	_, err = b.Label(t.Context(), orphan)
	must(t, err)
	labels := 0
	for _, ahead := range []time.Duration{0, 24 * time.Hour, -24 * time.Hour, 31 * 24 * time.Hour} {
		wrong.pass(ahead)
		for name, pair := range map[string][2]*server{"issued right": {a, b}, "issued wrong": {b, a}, "both wrong": {b, b}} {
			must(t, a.Refresh(t.Context()))
			must(t, b.Refresh(t.Context()))
			labels++
			image, rater := fmt.Sprint("image ", labels), fmt.Sprint("rater ", labels)
			pair[0].ask(t.Context(), "u", image, true, "")
			r, err := pair[1].rate(t, app, rater, image, pair[0].task(t, app, rater, image))
			if err != nil || !r.Counts || r.Feedback.State != experiment.Accepted {
				t.Errorf("%s, %s: %+v, %v", ahead, name, r, err)
			}
		}
		b.Decide(t.Context())
		if _, err := store.PurgeOrphans(t.Context()); err != nil {
			t.Error(err)
		}
		c, err := a.Conclude(t.Context(), "sharper")
		must(t, err)
		if x := c.Experiment; x.State != experiment.Running || x.Phase != 1 || c.Decision.Counts.LabelledBlind != labels {
			t.Fatalf("%s: %s in phase %d, %d labels, want %d", ahead, x.State, x.Phase, c.Decision.Counts.LabelledBlind, labels)
		}
		wrong.pass(-ahead)
	}
	a.ask(t.Context(), "u", "later", true, "")
	c, err := a.Conclude(t.Context(), "sharper")
	must(t, err)
	if c.Decision.Counts.LabelledAll != labels+1 {
		t.Errorf("%d images with labels, want %d: the one that waited is lost", c.Decision.Counts.LabelledAll, labels+1)
	}
	if since := time.Since(c.Experiment.Started); since < 0 || since > time.Hour {
		t.Errorf("started %s ago", since)
	}
}

// TestTwoServersOfOnePostgreSQL has two servers, each with connections of its
// own, run one experiment: what one changes the other follows, a unit has one
// arm on both and after a restart, labels of one are labels of the other, and
// of two promotions one is done.
func TestTwoServersOfOnePostgreSQL(t *testing.T) {
	t.Parallel()
	database := postgrestest.Start(t).URL()
	c := &clock{t: time.Date(2026, 11, 27, 12, 0, 0, 0, time.UTC)}
	connect := func() *server {
		cfg := sqlstore.DefaultConfig()
		cfg.URL, cfg.Clock = database, c.now
		store, err := sqlstore.Open(t.Context(), cfg)
		must(t, err)
		t.Cleanup(func() { must(t, store.Close()) })
		s := newServer(t, store, c, sound)
		must(t, s.Refresh(t.Context()))
		return s
	}
	a, b := connect(), connect()
	_, err := a.Create(t.Context(), []byte(`
id: sharper
arms: [{checkpoint: demo}, {id: new, checkpoint: other}, {id: newer, checkpoint: third}]
coverage: 50%
`), "me")
	must(t, err)
	_, err = a.Start(t.Context(), "sharper", "me")
	must(t, err)
	if shown := b.ask(t.Context(), "u", "a", false, ""); shown != nil {
		t.Fatalf("shown %+v before anybody looked at the store", shown)
	}
	must(t, b.Refresh(t.Context()))

	seen := map[string]*experiment.Shown{}
	ask := func(what string, s *server) {
		t.Helper()
		for u := range 40 {
			unit := fmt.Sprint(u)
			shown := s.ask(t.Context(), unit, unit, true, "")
			if before := seen[unit]; before != nil && (shown == nil || shown.Arm != before.Arm) {
				t.Errorf("%s: unit %s went from %s to %+v", what, unit, before.Arm, shown)
			}
			if shown != nil {
				if shown.Degraded || shown.Assignment == "" {
					t.Fatalf("%s: unit %s is shown %+v", what, unit, shown)
				}
				seen[unit] = shown
			}
		}
	}
	ask("the first", a)
	covered := len(seen)
	ask("the second", b)
	if len(seen) != covered || covered == 0 || covered == 40 {
		t.Errorf("the second server takes %d units, the first took %d of 40 at half coverage", len(seen), covered)
	}

	// A change of one is followed by the other, which cannot undo it unawares.
	x, err := b.Change(t.Context(), "sharper", 0,
		experiment.Change{Do: experiment.DoRamp, Coverage: experiment.Whole, By: "me"})
	must(t, err)
	if _, err := a.Change(t.Context(), "sharper", x.Revision-1,
		experiment.Change{Do: experiment.DoPause, By: "me"}); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("a change of what had changed: %v", err)
	}
	must(t, a.Refresh(t.Context()))
	ask("the first, widened", a)
	if len(seen) != 40 {
		t.Errorf("%d units of 40 at full coverage", len(seen))
	}
	ask("a restarted one", connect())

	// A key is given once among all, and what one stored the other counts.
	value := 3.0
	label := engine.Label{By: app, Key: "k", Task: a.task(t, app, "r", "1"), Assignment: seen["1"].Assignment, Rater: "r",
		Kind: experiment.MOS, Value: &value}
	for n, s := range []*server{a, b} {
		if r, err := s.Label(t.Context(), label); err != nil || r.Duplicate != (n == 1) ||
			r.Feedback.State != experiment.Accepted {
			t.Errorf("label at server %d: %+v, %v", n, r, err)
		}
	}
	ca, err := a.Conclude(t.Context(), "sharper")
	must(t, err)
	cb, err := b.Conclude(t.Context(), "sharper")
	must(t, err)
	if counts := ca.Decision.Counts; counts != cb.Decision.Counts || counts.LabelledBlind != 1 || counts.Units != 40 {
		t.Errorf("the first counts %+v, the second %+v", counts, cb.Decision.Counts)
	}

	// Of two promotions of two arms, begun at the same revision, one is done.
	var wait sync.WaitGroup
	errs := make([]error, 2)
	wait.Go(func() { _, errs[0] = a.Promote(t.Context(), "sharper", "new", "first", forced) })
	wait.Go(func() { _, errs[1] = b.Promote(t.Context(), "sharper", "newer", "second", forced) })
	wait.Wait()
	winner := map[bool]string{true: "other", false: "third"}[errs[0] == nil]
	if (errs[0] == nil) == (errs[1] == nil) || quality.KindOf(errs[0]) != quality.KindConflict &&
		quality.KindOf(errs[1]) != quality.KindConflict {
		t.Fatalf("promotions ended in %v and %v", errs[0], errs[1])
	}
	for n, s := range []*server{a, b, connect()} {
		must(t, s.Refresh(t.Context()))
		if def, err := s.shelf.Default(); err != nil || def.Name != winner {
			t.Errorf("server %d has the default %s, want %s (%v)", n, def.Name, winner, err)
		}
		if shown := s.ask(t.Context(), "1", "1", true, ""); shown != nil {
			t.Errorf("server %d still shows %+v", n, shown)
		}
	}
	audits, err := b.Audits(t.Context(), "sharper")
	must(t, err)
	var done []string
	for _, a := range audits {
		done = append(done, a.Action)
	}
	if got := fmt.Sprint(done); got != "[create start ramp promote]" {
		t.Errorf("on record is %s", got)
	}
}

// TestStartsAtOnceOnPostgreSQL: of experiments that take each other's requests and are
// started at the same moment, at several servers of one PostgreSQL, one starts.
func TestStartsAtOnceOnPostgreSQL(t *testing.T) {
	t.Parallel()
	const starts = 12
	database := postgrestest.Start(t).URL()
	var servers []*server
	for range 3 {
		cfg := sqlstore.DefaultConfig()
		cfg.URL = database
		store, err := sqlstore.Open(t.Context(), cfg)
		must(t, err)
		t.Cleanup(func() { must(t, store.Close()) })
		servers = append(servers, newServer(t, store, &clock{t: time.Now()}, sound))
	}
	id := func(n int) experiment.ID { return experiment.ID(fmt.Sprint("x", n)) }
	for n := range starts {
		_, err := servers[0].Create(t.Context(),
			fmt.Appendf(nil, "id: %s\narms: [{checkpoint: demo}, {id: new, checkpoint: other}]\n", id(n)), "me")
		must(t, err)
	}
	errs := make([]error, starts)
	var group sync.WaitGroup
	for n := range starts {
		group.Go(func() { _, errs[n] = servers[n%len(servers)].Start(t.Context(), id(n), "me") })
	}
	group.Wait()
	started := 0
	for n, err := range errs {
		if err == nil {
			started++
		} else if quality.KindOf(err) != quality.KindConflict || !strings.Contains(err.Error(), "gets none") {
			t.Errorf("%s: %v", id(n), err)
		}
	}
	if started != 1 {
		t.Errorf("%d of %d experiments started that each want every request", started, starts)
	}
}
