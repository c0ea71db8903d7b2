package sqlstore

import (
	"context"
	"database/sql"
	"sync"
	"time"

	"github.com/agiqa/agiqa/experiment"
)

// clock tells the time by two sources: the store's clock, and what has passed in this
// process since that was first read.
type clock struct {
	own    func() time.Time // nil: the database is asked
	steady func() time.Duration

	mu   sync.Mutex
	base time.Time // by the store's clock when steady was 0; zero: not read yet
}

func newClock(c Config, database bool) *clock {
	k := &clock{own: c.Clock, steady: c.Steady}
	if k.own == nil && !database {
		k.own = time.Now
	}
	if k.steady == nil {
		passing := c.Clock
		if passing == nil {
			passing = time.Now // with a monotonic reading
		}
		began := passing()
		k.steady = func() time.Duration { return passing().Sub(began) }
	}
	return k
}

// at is the instant at which the store's clock shows a time.
func (k *clock) at(shown time.Time) experiment.Instant {
	shown = shown.Round(0).UTC() // without a monotonic reading
	passed := k.steady()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.base.IsZero() {
		k.base = shown.Add(-passed)
	}
	counted := k.base.Add(passed)
	if counted.Before(shown) {
		return experiment.Instant{Earliest: counted, Latest: shown}
	}
	return experiment.Instant{Earliest: shown, Latest: counted}
}

// Now implements experiment.Store.
func (s *Store) Now(ctx context.Context) (experiment.Instant, error) {
	if s.clock.own != nil {
		return s.clock.at(s.clock.own()), nil
	}
	var shown time.Time
	err := s.query(ctx, func(rows *sql.Rows) error { return rows.Scan(&shown) }, `SELECT clock_timestamp()`)
	if err != nil {
		return experiment.Instant{}, err
	}
	return s.clock.at(shown), nil
}

// Time implements access.Store.
func (s *Store) Time(ctx context.Context) (time.Time, error) {
	if now, known := s.clock.counted(); known {
		return now, nil
	}
	if _, err := s.Now(ctx); err != nil {
		return time.Time{}, err
	}
	now, _ := s.clock.counted()
	return now, nil
}

// counted is the time by what has passed in this process; false while no clock was read.
func (k *clock) counted() (time.Time, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.base.Add(k.steady()), !k.base.IsZero()
}
