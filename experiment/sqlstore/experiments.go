package sqlstore

import (
	"bytes"
	"context"
	"database/sql"
	"maps"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Create implements experiment.Store.
func (s *Store) Create(ctx context.Context, e experiment.Experiment, a experiment.Audit) error {
	return s.save(ctx, e, a, save{
		statement: `INSERT INTO agiqa_experiments (created, revision, state, record, id) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		refused: func(context.Context, *sql.Tx) error {
			return quality.Errorf(quality.KindConflict, "experiment %q already exists", e.ID)
		},
	})
}

// Swap implements experiment.Store.
func (s *Store) Swap(ctx context.Context, was int64, e experiment.Experiment, a experiment.Audit) error {
	return s.save(ctx, e, a, s.swap(was, e.ID))
}

// SwapBeside implements experiment.Store.
func (s *Store) SwapBeside(ctx context.Context, was int64, e experiment.Experiment, a experiment.Audit,
	open map[experiment.ID]int64) error {
	swap := s.swap(was, e.ID)
	swap.check = func(ctx context.Context, tx *sql.Tx) error {
		now, err := s.openBeside(ctx, tx, e.ID)
		if err == nil && !maps.Equal(now, open) {
			err = quality.Errorf(quality.KindConflict, "other experiments changed at the same moment; look and try again").
				Because(experiment.ErrOthersChanged)
		}
		return err
	}
	return s.save(ctx, e, a, swap)
}

func (s *Store) swap(was int64, id experiment.ID) save {
	return save{
		statement: `UPDATE agiqa_experiments SET created = ?, revision = ?, state = ?, record = ? WHERE id = ? AND revision = ?`,
		more:      []any{was},
		refused:   func(ctx context.Context, tx *sql.Tx) error { return s.notSwapped(ctx, tx, id, was) },
	}
}

// openBeside returns the revisions of the experiments that run or are paused, apart
// from one.
func (s *Store) openBeside(ctx context.Context, tx *sql.Tx, id experiment.ID) (map[experiment.ID]int64, error) {
	rows, err := tx.QueryContext(ctx,
		s.sql(`SELECT id, revision FROM agiqa_experiments WHERE id <> ? AND state IN (?, ?)`),
		string(id), string(experiment.Running), string(experiment.Paused))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	open := map[experiment.ID]int64{}
	for rows.Next() {
		var other string
		var revision int64
		if err := rows.Scan(&other, &revision); err != nil {
			return nil, err
		}
		open[experiment.ID(other)] = revision
	}
	return open, rows.Err()
}

// Delete implements experiment.Store.
func (s *Store) Delete(ctx context.Context, id experiment.ID, was int64) error {
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, again bool) error {
		result, err := tx.ExecContext(ctx, s.sql(`DELETE FROM agiqa_experiments WHERE id = ? AND revision = ?`), string(id),
			was)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 {
			err := s.notSwapped(ctx, tx, id, was)
			if again && quality.KindOf(err) == quality.KindNotFound {
				return nil // the attempt before did it
			}
			return err
		}
		_, err = tx.ExecContext(ctx, s.sql(`DELETE FROM agiqa_audits WHERE experiment = ?`), string(id))
		return err
	}})
}

// save is how an experiment is written.
type save struct {
	check     func(context.Context, *sql.Tx) error // what has to hold; nil: nothing
	statement string
	more      []any                                // follows the columns among the statement's arguments
	refused   func(context.Context, *sql.Tx) error // the error where the statement met no row
}

// save writes an experiment and its audit record in one transaction. Whoever writes
// experiments takes turns, with writers of other processes as well, so that what is
// checked of other experiments still holds at the commit: the row that they lock is
// the log's.
func (s *Store) save(ctx context.Context, e experiment.Experiment, a experiment.Audit, how save) error {
	record, audit, err := encodeChange(e, a)
	if err != nil {
		return err
	}
	args := append([]any{e.Created.UnixMicro(), e.Revision, string(e.State), record, string(e.ID)}, how.more...)
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, again bool) error {
		var last int64
		if err := tx.QueryRowContext(ctx, s.dialect.lockLog).Scan(&last); err != nil {
			return err
		}
		if again {
			if done, err := s.isStored(ctx, tx, e.ID, record); done || err != nil {
				return err
			}
		}
		if how.check != nil {
			if err := how.check(ctx, tx); err != nil {
				return err
			}
		}
		result, err := tx.ExecContext(ctx, s.sql(how.statement), args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 {
			return how.refused(ctx, tx)
		}
		_, err = tx.ExecContext(ctx, s.sql(`INSERT INTO agiqa_audits (experiment, revision, record) VALUES (?, ?, ?)`),
			string(a.Experiment), a.Revision, audit)
		return err
	}})
}

// isStored reports whether the stored experiment is this one: an attempt whose
// outcome nobody learned was committed.
func (s *Store) isStored(ctx context.Context, tx *sql.Tx, id experiment.ID, record []byte) (bool, error) {
	var stored []byte
	err := tx.QueryRowContext(ctx, s.sql(`SELECT record FROM agiqa_experiments WHERE id = ?`), string(id)).Scan(&stored)
	if err == sql.ErrNoRows {
		return false, nil
	}
	return bytes.Equal(stored, record), err
}

// notSwapped says why a swap met no row.
func (s *Store) notSwapped(ctx context.Context, tx *sql.Tx, id experiment.ID, was int64) error {
	var now int64
	err := tx.QueryRowContext(ctx, s.sql(`SELECT revision FROM agiqa_experiments WHERE id = ?`), string(id)).Scan(&now)
	switch {
	case err == sql.ErrNoRows:
		return noExperiment(id)
	case err != nil:
		return err
	}
	return quality.Errorf(quality.KindConflict, "experiment %q is at revision %d, not %d", id, now, was)
}

// Get implements experiment.Store.
func (s *Store) Get(ctx context.Context, id experiment.ID) (experiment.Experiment, error) {
	e, found, err := one[experiment.Experiment](ctx, s, `SELECT record FROM agiqa_experiments WHERE id = ?`, string(id))
	if err == nil && !found {
		err = noExperiment(id)
	}
	return e, err
}

// List implements experiment.Store.
func (s *Store) List(ctx context.Context) ([]experiment.Experiment, error) {
	return records[experiment.Experiment](ctx, s, `SELECT record FROM agiqa_experiments ORDER BY created, id`)
}

// Audits implements experiment.Store.
func (s *Store) Audits(ctx context.Context, id experiment.ID) ([]experiment.Audit, error) {
	return records[experiment.Audit](ctx, s, `SELECT record FROM agiqa_audits WHERE experiment = ? ORDER BY revision`,
		string(id))
}

func noExperiment(id experiment.ID) error {
	return quality.Errorf(quality.KindNotFound, "experiment %q not found", id)
}

func encodeChange(e experiment.Experiment, a experiment.Audit) (record, audit []byte, err error) {
	if err := a.Covers(e); err != nil {
		return nil, nil, err
	}
	if record, err = encode(e, string(e.ID)); err != nil {
		return nil, nil, err
	}
	audit, err = encode(a)
	return record, audit, err
}
