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
	record, audit, err := encodeChange(e, a)
	if err != nil {
		return err
	}
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, again bool) error {
		result, err := tx.ExecContext(ctx, s.sql(
			`INSERT INTO agiqa_experiments (id, created, revision, state, record) VALUES (?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`),
			string(e.ID), e.Created.UnixMicro(), e.Revision, string(e.State), record)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			if again {
				if done, err := s.isStored(ctx, tx, e.ID, record); done || err != nil {
					return err
				}
			}
			return quality.Errorf(quality.KindConflict, "experiment %q already exists", e.ID)
		}
		return s.addAudit(ctx, tx, a, audit)
	}})
}

// Swap implements experiment.Store.
func (s *Store) Swap(ctx context.Context, was int64, e experiment.Experiment, a experiment.Audit) error {
	record, audit, err := encodeChange(e, a)
	if err != nil {
		return err
	}
	return s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, again bool) error {
		result, err := tx.ExecContext(ctx, s.sql(
			`UPDATE agiqa_experiments SET created = ?, revision = ?, state = ?, record = ? WHERE id = ? AND revision = ?`),
			e.Created.UnixMicro(), e.Revision, string(e.State), record, string(e.ID), was)
		if err != nil {
			return err
		}
		if n, err := result.RowsAffected(); err != nil {
			return err
		} else if n == 0 {
			if again {
				if done, err := s.isStored(ctx, tx, e.ID, record); done || err != nil {
					return err
				}
			}
			return s.notSwapped(ctx, tx, e.ID, was)
		}
		return s.addAudit(ctx, tx, a, audit)
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

func (s *Store) addAudit(ctx context.Context, tx *sql.Tx, a experiment.Audit, record []byte) error {
	_, err := tx.ExecContext(ctx, s.sql(`INSERT INTO agiqa_audits (experiment, revision, record) VALUES (?, ?, ?)`),
		string(a.Experiment), a.Revision, record)
	return err
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
