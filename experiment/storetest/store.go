package storetest

import (
	"context"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/quality"
)

// Store is a SQLite store in a temporary folder. A test can make its appends fail.
type Store struct {
	*sqlstore.Store
	full atomic.Bool
}

// Open returns an empty store, closed when the test ends. now tells it when
// orphans expire.
func Open(t testing.TB, now func() time.Time) *Store {
	t.Helper()
	config := sqlstore.DefaultConfig()
	config.Path, config.Clock = filepath.Join(t.TempDir(), "experiments.db"), now
	s, err := sqlstore.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("closing the store: %v", err)
		}
	})
	return &Store{Store: s}
}

// Fill makes appends fail with store_unavailable, as a full disk does, until it's
// called with false.
func (s *Store) Fill(full bool) { s.full.Store(full) }

func (s *Store) unavailable() error {
	if s.full.Load() {
		return quality.Errorf(quality.KindStoreUnavailable, "no space left on device")
	}
	return nil
}

// AppendExposures implements experiment.Store.
func (s *Store) AppendExposures(ctx context.Context, exposures []experiment.Exposure) error {
	if err := s.unavailable(); err != nil {
		return err
	}
	return s.Store.AppendExposures(ctx, exposures)
}

// AppendFeedback implements experiment.Store.
func (s *Store) AppendFeedback(ctx context.Context, f experiment.Feedback) (experiment.Receipt, error) {
	if err := s.unavailable(); err != nil {
		return experiment.Receipt{}, err
	}
	return s.Store.AppendFeedback(ctx, f)
}
