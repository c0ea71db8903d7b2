package sqlstore_test

import (
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/storetest"
)

// TestClockSteps: a clock that is set while records are written, by an hour in either
// direction, neither loses a record nor changes the order of the log, and deletes no
// label that waits for its exposure.
func TestClockSteps(t *testing.T) {
	t.Parallel()
	for _, step := range []time.Duration{-time.Hour, time.Hour} {
		now, c := time.Now(), sqliteConfig(t)
		c.Clock = func() time.Time { return now }
		s := open(t, c)
		if _, err := s.AppendFeedback(t.Context(), storetest.NewOrphan(0)); err != nil {
			t.Fatal(err)
		}
		for n := range 3 {
			if err := s.AppendExposures(t.Context(),
				[]experiment.Exposure{storetest.NewExposure("x", n)}); err != nil {
				t.Fatal(err)
			}
			now = now.Add(step)
		}
		if n, err := s.PurgeOrphans(t.Context()); err != nil || n != 0 {
			t.Errorf("step %v: %d labels are deleted, %v", step, n, err)
		}
		var ids []string
		for e, err := range s.Exposures(t.Context(), "x", 0) {
			if err != nil {
				t.Fatal(err)
			}
			ids = append(ids, e.Record.ID)
		}
		for n := range 3 {
			if len(ids) != 3 || ids[n] != storetest.NewExposure("x", n).ID {
				t.Fatalf("step %v: the log has %q", step, ids)
			}
		}
	}
}

// TestTimeOfKeys: the time by which keys end goes on as it went when the clock is set.
func TestTimeOfKeys(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)
	var passed, set time.Duration
	c := sqliteConfig(t)
	c.Clock = func() time.Time { return began.Add(passed + set) }
	c.Steady = func() time.Duration { return passed }
	s := open(t, c)
	for _, set = range []time.Duration{0, time.Hour, -time.Hour, 31 * 24 * time.Hour, 0} {
		passed += time.Minute
		if now, err := s.Time(t.Context()); err != nil || !now.Equal(began.Add(passed)) {
			t.Errorf("set by %s: %s, %v, want %s", set, now, err, began.Add(passed))
		}
		if _, err := s.Now(t.Context()); err != nil {
			t.Error(err)
		}
	}
}
