package sqlstore_test

import (
	"path/filepath"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
)

func TestSQLite(t *testing.T) {
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
