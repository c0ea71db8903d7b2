package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Store is an experiment.Store in a SQL database. It is safe for concurrent
// use, by several processes on the same database too.
type Store struct {
	config  Config
	dialect dialect
	clock   *clock
	writer  *writer

	migrated  atomic.Bool
	migrating chan struct{} // holds one: whoever migrates

	stop context.CancelFunc // ends purging
	wait sync.WaitGroup
}

var _ experiment.Store = (*Store)(nil)

// Open opens the database and brings its schema to this program's version. One that
// cannot be reached, read or written is no error: a server goes on without it, and
// every call is store_unavailable until it can. What no time mends is: a path that
// is no file's, a URL that is none, a password that is refused.
func Open(ctx context.Context, c Config) (*Store, error) {
	if (c.Path == "") == (c.URL == "") {
		return nil, quality.Errorf(quality.KindInternal, "the experiment store needs either a path or a URL")
	}
	open := openSQLite
	if c.URL != "" {
		open = openPostgres
	}
	d, err := open(c)
	if err != nil {
		return nil, unavailable(ctx, dialect{}, err)
	}
	s := &Store{config: c, dialect: d, clock: newClock(c, d.nowMicros != ""), migrating: make(chan struct{}, 1)}
	s.writer = newWriter(s)
	var background context.Context
	background, s.stop = context.WithCancel(context.Background())
	s.wait.Go(func() { s.purge(background) })
	if err := s.start(ctx); err != nil {
		_ = s.Close()
		return nil, unavailable(ctx, d, err)
	}
	return s, nil
}

// start makes the schema ready, and waits for other processes that do so.
func (s *Store) start(ctx context.Context) error {
	deadline := time.Now().Add(lockWait)
	for {
		err := s.look()
		if err == nil {
			err = s.ready(ctx)
		}
		if err == nil {
			if s.dialect.warns {
				s.warnOfServer(ctx)
			}
			return nil
		}
		fault := s.dialect.fault(err)
		switch {
		case fault == ofLock && time.Now().Before(deadline):
			// SQLite does not wait for a lock while it changes the journal's mode.
			if pause(ctx, 10*time.Millisecond) != nil {
				return err
			}
		case fault == ofLink && !errors.Is(err, errTooOld):
			s.config.Logger.WarnContext(ctx, "the experiment database is unavailable; continuing without it", "cause", err)
			return nil
		default:
			return err
		}
	}
}

// Check reports whether the database can be used, with the error that a call would
// have.
func (s *Store) Check(ctx context.Context) error {
	return s.query(ctx, func(*sql.Rows) error { return nil }, `SELECT last FROM agiqa_log WHERE id = 1`)
}

// look finds what the database's own errors do not say.
func (s *Store) look() error {
	if s.config.Fault != nil {
		return s.config.Fault
	}
	if s.dialect.check != nil {
		return s.dialect.check()
	}
	return nil
}

// ready migrates the schema if this was not done yet.
func (s *Store) ready(ctx context.Context) error {
	if s.migrated.Load() {
		return nil
	}
	select {
	case s.migrating <- struct{}{}:
		defer func() { <-s.migrating }()
	case <-ctx.Done():
		return ctx.Err()
	}
	if s.migrated.Load() {
		return nil
	}
	tx, err := s.dialect.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := errors.Join(s.migrate(ctx, tx), ctx.Err()); err != nil {
		_ = tx.Rollback()
		return err
	}
	if err := tx.Commit(); err != nil {
		return err
	}
	s.migrated.Store(true)
	return nil
}

func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// purge removes expired orphans from time to time, so that they go where
// nothing is written too.
func (s *Store) purge(ctx context.Context) {
	tick := time.NewTicker(purgeInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		if _, err := s.PurgeOrphans(ctx); err != nil && ctx.Err() == nil {
			s.config.Logger.WarnContext(ctx, "removing expired orphaned feedback failed", "cause", err)
		}
		if err := s.purgeLeases(ctx); err != nil && ctx.Err() == nil {
			s.config.Logger.WarnContext(ctx, "removing expired leases failed", "cause", err)
		}
	}
}

// Close waits for what is being written, and for what waits to be.
func (s *Store) Close() error {
	s.stop()
	s.wait.Wait()
	s.writer.close()
	if err := errors.Join(s.dialect.read.Close(), s.dialect.write.Close()); err != nil {
		return unavailable(context.Background(), s.dialect, fmt.Errorf("closing: %w", err))
	}
	return nil
}
