package sqlstore_test

import (
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/desired/desiredtest"
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

func TestSQLiteKeys(t *testing.T) {
	t.Parallel()
	storetest.RunKeys(t, func(t *testing.T) access.Store { return open(t, sqliteConfig(t)) })
	t.Run("together", func(t *testing.T) { testKeysTogether(t, sqliteConfig(t)) })
}

func TestSQLiteDesired(t *testing.T) {
	t.Parallel()
	desiredtest.Run(t, func(t *testing.T) (a, b desired.Store) {
		s := open(t, sqliteConfig(t))
		return s, s
	})
	t.Run("kept by a file", func(t *testing.T) {
		c := sqliteConfig(t)
		s := open(t, c)
		want, err := s.Replace(t.Context(), 0,
			desired.Document{}.With(desiredtest.NewCheckpoint(1)), desiredtest.NewBundle(1))
		if err != nil {
			t.Fatal(err)
		}
		got, err := open(t, c).Desired(t.Context())
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v, want %+v", got, err, want)
		}
		execute(t, sqliteFile(t, c.Path), `UPDATE agiqa_bundles SET weights = x'00'`)
		if _, err := s.Bundle(t.Context(),
			desiredtest.NewBundle(1).Address()); quality.KindOf(err) != quality.KindStoreUnavailable {
			t.Errorf("a damaged bundle: %v, want store_unavailable", err)
		}
	})
}

// testKeysTogether has several stores create keys of one name at once, as several
// gateways would, for one name after the other.
func testKeysTogether(t *testing.T, c sqlstore.Config) {
	stores := make([]*sqlstore.Store, 4)
	for i := range stores {
		stores[i] = open(t, c)
	}
	for name := range 10 {
		var group sync.WaitGroup
		for i, s := range stores {
			group.Go(func() {
				for n := range access.MaxPerName {
					key := storetest.NewKey(fmt.Sprintf("key-%d", name), i*access.MaxPerName+n)
					if err := s.CreateKey(t.Context(), key); err != nil && quality.KindOf(err) != quality.KindConflict {
						t.Errorf("CreateKey: %v", err)
					}
				}
			})
		}
		group.Wait()
		keys, err := stores[0].ListKeys(t.Context(), time.Now())
		if want := (name + 1) * access.MaxPerName; err != nil || len(keys) != want {
			t.Fatalf("%d keys, %v, want %d", len(keys), err, want)
		}
	}
}

// TestSchemaOfEarlierVersions: a database that an earlier version made is brought
// to this one's schema, and goes on where it was.
func TestSchemaOfEarlierVersions(t *testing.T) {
	t.Parallel()
	for version := 1; version < sqlstore.Versions; version++ {
		c := sqliteConfig(t)
		if err := os.MkdirAll(filepath.Dir(c.Path), 0o700); err != nil {
			t.Fatal(err)
		}
		db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: c.Path}).String())
		if err != nil {
			t.Fatal(err)
		}
		for _, statement := range append(sqlstore.Schema(version), "UPDATE agiqa_log SET last = 7") {
			if _, err := db.ExecContext(t.Context(), statement); err != nil {
				t.Fatalf("version %d: %s: %v", version, statement, err)
			}
		}
		s := open(t, c)
		if err := s.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", 1)}); err != nil {
			t.Fatalf("version %d: %v", version, err)
		}
		if err := s.CreateKey(t.Context(), storetest.NewKey("a", 1)); err != nil {
			t.Errorf("version %d: %v", version, err)
		}
		var last int
		if err := errors.Join(db.QueryRowContext(t.Context(), "SELECT last FROM agiqa_log").Scan(&last),
			db.Close()); err != nil || last != 8 {
			t.Errorf("version %d: the log is at %d, %v, want 8", version, last, err)
		}
	}
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
