package sqlstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"time"

	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/quality"
)

var _ desired.Store = (*Store)(nil)

const (
	// pollListening is how often changes are looked for while the database tells
	// of them; pollDeaf while it doesn't.
	pollListening = 5 * time.Second
	pollDeaf      = 500 * time.Millisecond
)

// Shared implements [desired.Store]. A SQLite file has one server: it locks its
// data folder.
func (s *Store) Shared() bool { return s.dialect.shared }

// Desired implements [desired.Store].
func (s *Store) Desired(ctx context.Context) (desired.State, error) {
	var state desired.State
	err := s.query(ctx, func(rows *sql.Rows) error {
		var document string
		if err := rows.Scan(&state.Store, &state.Revision, &document); err != nil {
			return err
		}
		var err error
		state.Document, err = desired.Decode([]byte(document))
		return err
	}, `SELECT store, revision, document FROM agiqa_state WHERE id = 1`)
	return state, err
}

// Replace implements [desired.Store].
func (s *Store) Replace(ctx context.Context, was int64, d desired.Document,
	add ...desired.Bundle) (desired.State, error) {
	for _, b := range add {
		if n := len(b.Manifest) + len(b.Weights); n > desired.MaxBundleBytes {
			return desired.State{}, quality.Errorf(quality.KindPayloadTooLarge,
				"the bundle has %d bytes; the store takes %d at most", n, desired.MaxBundleBytes)
		}
	}
	document, err := d.Encode()
	if err != nil {
		return desired.State{}, err
	}
	next := desired.State{Revision: was + 1, Document: d}
	err = s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, again bool) error {
		var now int64
		if err := tx.QueryRowContext(ctx, s.dialect.lockState).Scan(&now); err != nil {
			return err
		}
		var stored string
		if err := tx.QueryRowContext(ctx, `SELECT store, document FROM agiqa_state WHERE id = 1`).
			Scan(&next.Store, &stored); err != nil {
			return err
		}
		if again && now == was+1 && stored == string(document) {
			return nil // the first attempt was committed
		}
		if now != was {
			return desired.ErrMoved(now, was)
		}
		if next.Store == "" {
			next.Store = rand.Text()
		}
		return s.writeState(ctx, tx, next, string(document), add)
	}})
	if err != nil { // a caller that left must not look at what the writer writes
		return desired.State{}, err
	}
	return next, nil
}

// writeState replaces the document, adds bundles, and deletes those that it
// doesn't name.
func (s *Store) writeState(ctx context.Context, tx *sql.Tx, next desired.State, document string,
	add []desired.Bundle) error {
	for _, b := range add {
		if _, err := tx.ExecContext(ctx, s.sql(`INSERT INTO agiqa_bundles (address, manifest, weights) VALUES (?, ?, ?) `+
			`ON CONFLICT (address) DO NOTHING`), b.Address().String(), b.Manifest, b.Weights); err != nil {
			return err
		}
	}
	if _, err := tx.ExecContext(ctx, s.sql(`UPDATE agiqa_state SET store = ?, revision = ?, document = ? WHERE id = 1`),
		next.Store, next.Revision, document); err != nil {
		return err
	}
	statement, named := `DELETE FROM agiqa_bundles`, []any{}
	for _, c := range next.Checkpoints {
		named = append(named, c.Bundle.String())
	}
	if len(named) > 0 {
		statement += ` WHERE address NOT IN ` + tuples(1, len(named))
	}
	if _, err := tx.ExecContext(ctx, s.sql(statement), named...); err != nil {
		return err
	}
	if s.dialect.notify != "" {
		_, err := tx.ExecContext(ctx, s.dialect.notify)
		return err
	}
	return nil
}

// Bundle implements [desired.Store]. What doesn't have the digest that it is
// stored under is damaged, and an error.
func (s *Store) Bundle(ctx context.Context, address quality.Digest) (desired.Bundle, error) {
	var b desired.Bundle
	found := false
	err := s.query(ctx, func(rows *sql.Rows) error {
		found = true
		return rows.Scan(&b.Manifest, &b.Weights)
	}, `SELECT manifest, weights FROM agiqa_bundles WHERE address = ?`, address.String())
	switch {
	case err != nil:
		return desired.Bundle{}, err
	case !found:
		return desired.Bundle{}, desired.NoBundle(address)
	case b.Address() != address:
		return desired.Bundle{}, quality.Errorf(quality.KindStoreUnavailable, "bundle %s in the store is damaged", address)
	}
	return b, nil
}

// headSubject and lockSubject are what leases are on.
func headSubject(head quality.Digest) string { return "head:" + head.String() }
func lockSubject(name string) string         { return "lock:" + name }

const onlySlot = "" // of a lock

// expiry is when a lease ends that begins now.
func (s *Store) expiry() (expression string, lease int64) {
	return s.dialect.clock + ` + ?`, desired.LeaseTime.Microseconds()
}

// Hold implements [desired.Store].
func (s *Store) Hold(ctx context.Context, holder string, revision int64, heads []quality.Digest) error {
	if !s.dialect.shared {
		return nil
	}
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, _ bool) error {
		if revision >= 0 {
			var now int64
			if err := tx.QueryRowContext(ctx, s.dialect.lockState).Scan(&now); err != nil {
				return err
			}
			if now != revision {
				return desired.ErrMoved(now, revision)
			}
		}
		until, lease := s.expiry()
		if _, err := tx.ExecContext(ctx, s.sql(`DELETE FROM agiqa_leases WHERE holder = ? AND slot = ?`),
			holder, holder); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.sql(`UPDATE agiqa_leases SET expires = `+until+` WHERE holder = ?`),
			lease, holder); err != nil {
			return err
		}
		for _, head := range heads {
			if _, err := tx.ExecContext(ctx, s.sql(
				`INSERT INTO agiqa_leases (expires, subject, slot, holder) VALUES (`+until+`, ?, ?, ?)`),
				lease, headSubject(head), holder, holder); err != nil {
				return err
			}
		}
		return nil
	}})
}

// Holders implements [desired.Store].
func (s *Store) Holders(ctx context.Context, head quality.Digest) ([]string, error) {
	var holders []string
	err := s.query(ctx, func(rows *sql.Rows) error {
		var holder string
		err := rows.Scan(&holder)
		holders = append(holders, holder)
		return err
	}, `SELECT holder FROM agiqa_leases WHERE subject = ? AND expires > `+s.dialect.clock+` ORDER BY holder`,
		headSubject(head))
	return holders, err
}

// Lock implements [desired.Store].
func (s *Store) Lock(ctx context.Context, holder, name string) (bool, error) {
	if !s.dialect.shared {
		return true, nil
	}
	var got int64
	err := s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, _ bool) error {
		// What gateways left that are gone.
		if _, err := tx.ExecContext(ctx, s.sql(`DELETE FROM agiqa_leases WHERE subject = ? AND expires <= `+s.dialect.clock),
			lockSubject(name)); err != nil {
			return err
		}
		until, lease := s.expiry()
		result, err := tx.ExecContext(ctx, s.sql(
			`INSERT INTO agiqa_leases (expires, subject, slot, holder) VALUES (`+until+`, ?, ?, ?) `+
				`ON CONFLICT (subject, slot) DO UPDATE SET expires = excluded.expires `+
				`WHERE agiqa_leases.holder = excluded.holder`), lease, lockSubject(name), onlySlot, holder)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		got = n
		return err
	}})
	if err != nil {
		return false, err
	}
	return got > 0, nil
}

// Unlock implements [desired.Store].
func (s *Store) Unlock(ctx context.Context, holder, name string) error {
	return s.dropLeases(ctx, `subject = ? AND holder = ?`, lockSubject(name), holder)
}

// Leave implements [desired.Store].
func (s *Store) Leave(ctx context.Context, holder string) error {
	return s.dropLeases(ctx, `holder = ?`, holder)
}

func (s *Store) dropLeases(ctx context.Context, where string, args ...any) error {
	if !s.dialect.shared {
		return nil
	}
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, _ bool) error {
		_, err := tx.ExecContext(ctx, s.sql(`DELETE FROM agiqa_leases WHERE `+where), args...)
		return err
	}})
}

// purgeLeases removes what gateways left that are gone.
func (s *Store) purgeLeases(ctx context.Context) error {
	return s.dropLeases(ctx, `expires < `+s.dialect.clock+` - ?`, (10 * desired.LeaseTime).Microseconds())
}

// Changes implements [desired.Store].
func (s *Store) Changes(ctx context.Context) <-chan struct{} {
	told := make(chan struct{}, 1)
	if !s.dialect.shared {
		return told
	}
	tell := func() {
		select {
		case told <- struct{}{}:
		default:
		}
	}
	go s.listenAndPoll(ctx, tell)
	return told
}

// listenAndPoll tells of notifications, and at intervals, which are short while
// nobody notifies.
func (s *Store) listenAndPoll(ctx context.Context, tell func()) {
	for ctx.Err() == nil {
		listening := make(chan struct{})
		ended := make(chan error, 1)
		go func() {
			first := true
			ended <- s.dialect.listen(ctx, func() {
				if first {
					first = false
					close(listening)
				}
				tell()
			})
		}()
		err := pollUntil(ended, listening, tell)
		if err != nil && ctx.Err() == nil && !errors.Is(err, context.Canceled) {
			s.config.Logger.DebugContext(ctx, "the database doesn't tell of changes; polling", "cause", err)
		}
		tell()
		if pause(ctx, pollDeaf) != nil {
			return
		}
	}
}

func pollUntil(ended <-chan error, listening <-chan struct{}, tell func()) error {
	ticker := time.NewTicker(pollDeaf)
	defer ticker.Stop()
	for {
		select {
		case err := <-ended:
			return err
		case <-listening:
			listening = nil
			ticker.Reset(pollListening)
		case <-ticker.C:
			tell()
		}
	}
}
