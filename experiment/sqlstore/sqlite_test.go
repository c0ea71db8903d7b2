package sqlstore_test

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

func TestSQLite(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T, clock *storetest.Clock) experiment.Store {
		c := sqliteConfig(t)
		c.Clock = clock.Now
		return open(t, c)
	})
}

// sqliteConfig is of a new file whose folder has a name that URIs must escape.
func sqliteConfig(t testing.TB) sqlstore.Config {
	t.Helper()
	c := sqlstore.DefaultConfig()
	c.Path = filepath.Join(t.TempDir(), "a folder?of #1%", "experiments.db")
	c.Clock = storetest.NewClock().Now
	return c
}

func open(t testing.TB, c sqlstore.Config) *sqlstore.Store {
	t.Helper()
	s, err := sqlstore.Open(t.Context(), c)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

func TestSQLiteTogether(t *testing.T) {
	t.Parallel()
	testTogether(t, sqliteConfig(t))
}

// testTogether opens several stores on an empty database at once, as several
// processes would, and writes through all of them: a key and a place are given
// once among all.
func testTogether(t *testing.T, c sqlstore.Config) {
	const stores, each = 3, 10
	var group sync.WaitGroup
	var fresh atomic.Int32
	for i := range stores {
		group.Go(func() {
			s, err := sqlstore.Open(t.Context(), c)
			if err != nil {
				t.Errorf("Open: %v", err)
				return
			}
			defer s.Close()
			for n := range each {
				if err := s.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", i*each+n)}); err != nil {
					t.Errorf("AppendExposures: %v", err)
				}
				switch r, err := s.AppendFeedback(t.Context(), storetest.NewFeedback("x", n)); {
				case err != nil:
					t.Errorf("AppendFeedback: %v", err)
				case !r.Duplicate:
					fresh.Add(1)
				}
			}
		})
	}
	group.Wait()
	found := everything(t, open(t, c), "x")
	if fresh.Load() != each || len(found) != stores*each+each {
		t.Errorf("%d new keys of %d, %d records of %d", fresh.Load(), each, len(found), stores*each+each)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	s := open(t, sqliteConfig(t))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := s.AppendExposures(t.Context(),
		[]experiment.Exposure{storetest.NewExposure("x", 1)}); quality.KindOf(err) != quality.KindStoreUnavailable {
		t.Errorf("append: %v, want store_unavailable", err)
	}
	if _, err := s.List(t.Context()); quality.KindOf(err) != quality.KindStoreUnavailable {
		t.Errorf("List: %v, want store_unavailable", err)
	}
}

func TestPurgeOrphans(t *testing.T) {
	t.Parallel()
	clock, c := storetest.NewClock(), sqliteConfig(t)
	c.Clock = clock.Now
	s := open(t, c)
	for n := range 3 {
		if _, err := s.AppendFeedback(t.Context(), storetest.NewOrphan(n)); err != nil {
			t.Fatal(err)
		}
	}
	for _, want := range []int64{0, 3, 0} {
		if n, err := s.PurgeOrphans(t.Context()); err != nil || n != want {
			t.Errorf("PurgeOrphans = %d, %v; want %d", n, err, want)
		}
		clock.Add(experiment.OrphanFor + 1000)
	}
}

func TestOpenNeedsOnePlace(t *testing.T) {
	t.Parallel()
	neither, both := sqlstore.DefaultConfig(), sqlstore.DefaultConfig()
	both.Path, both.URL = filepath.Join(t.TempDir(), "experiments.db"), "postgres://localhost/x"
	for _, c := range []sqlstore.Config{neither, both} {
		if s, err := sqlstore.Open(t.Context(), c); err == nil {
			t.Errorf("path %q, URL %q: opened, %v", c.Path, c.URL, s.Close())
		}
	}
}
