package sqlstore

import (
	"bytes"
	"context"
	"database/sql"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Create implements experiment.Store.
func (s *Store) Create(ctx context.Context, e experiment.Experiment, a experiment.Audit) error {
	return s.save(ctx, e, a,
		`INSERT INTO agiqa_experiments (created, revision, state, record, id) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
		nil, func(context.Context, *sql.Tx) error {
			return quality.Errorf(quality.KindConflict, "experiment %q already exists", e.ID)
		})
}

// Swap implements experiment.Store.
func (s *Store) Swap(ctx context.Context, was int64, e experiment.Experiment, a experiment.Audit) error {
	return s.save(ctx, e, a,
		`UPDATE agiqa_experiments SET created = ?, revision = ?, state = ?, record = ? WHERE id = ? AND revision = ?`,
		[]any{was}, func(ctx context.Context, tx *sql.Tx) error { return s.notSwapped(ctx, tx, e.ID, was) })
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

// save writes an experiment and its audit record in one transaction. more follows
// the columns among the statement's arguments; refused is the error where the
// statement met no row.
func (s *Store) save(ctx context.Context, e experiment.Experiment, a experiment.Audit, statement string, more []any,
	refused func(context.Context, *sql.Tx) error) error {
	record, audit, err := encodeChange(e, a)
	if err != nil {
		return err
	}
	args := append([]any{e.Created.UnixMicro(), e.Revision, string(e.State), record, string(e.ID)}, more...)
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, again bool) error {
		result, err := tx.ExecContext(ctx, s.sql(statement), args...)
		if err != nil {
			return err
		}
		n, err := result.RowsAffected()
		if err != nil {
			return err
		}
		if n == 0 && again {
			if done, err := s.isStored(ctx, tx, e.ID, record); done || err != nil {
				return err
			}
		}
		if n == 0 {
			return refused(ctx, tx)
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
