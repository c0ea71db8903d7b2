package sqlstore

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// joinOrphans gives the orphans that waited for exposures which were just
// written their experiment, and a position at the end of the log, where readers
// that went past the old one find them.
func (s *Store) joinOrphans(ctx context.Context, tx *sql.Tx, l *log, bySeq map[int64]experiment.Exposure,
	written map[int64]bool) error {
	var waiting bool
	if err := tx.QueryRowContext(ctx,
		`SELECT EXISTS (SELECT 1 FROM agiqa_feedback WHERE experiment = '')`).Scan(&waiting); err != nil || !waiting {
		return err
	}
	for _, seq := range slices.Sorted(maps.Keys(written)) {
		if err := s.joinOrphansOf(ctx, tx, l, bySeq[seq]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) joinOrphansOf(ctx context.Context, tx *sql.Tx, l *log, e experiment.Exposure) error {
	type orphan struct {
		seq int64
		raw []byte
	}
	var orphans []orphan
	digest := image(e.Image)
	rows, err := tx.QueryContext(ctx, s.sql(`SELECT seq, record FROM agiqa_feedback WHERE experiment = '' AND
		((assignment <> '' AND assignment = ?) OR (assignment = '' AND (image = ? OR image_a = ? OR image_b = ?))) ORDER BY seq`),
		e.Assignment, digest, digest, digest)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var o orphan
		if err := rows.Scan(&o.seq, &o.raw); err != nil {
			return err
		}
		orphans = append(orphans, o)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, o := range orphans {
		f, err := decode[experiment.Feedback](o.raw)
		if err != nil {
			return err
		}
		joined, err := newFeedbackRow(f.Joined(e))
		if err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, s.sql(`UPDATE agiqa_feedback SET seq = ?, experiment = ?, record = ? WHERE seq = ?`),
			l.next(), string(joined.Experiment), joined.raw, o.seq); err != nil {
			return err
		}
	}
	return nil
}

// waiting counts orphans while a transaction adds some.
type waiting struct {
	all      int64
	bySender map[string]*orphans
}

// orphans are those of one sender.
type orphans struct{ count, bytes int64 }

// waiting counts the orphans that there are, of everybody and of the senders of
// the orphans among jobs.
func (s *Store) waiting(ctx context.Context, tx *sql.Tx, jobs []*job) (*waiting, error) {
	w := &waiting{bySender: map[string]*orphans{}}
	for _, j := range jobs {
		if j.feedback.Experiment != "" {
			continue
		}
		if _, known := w.bySender[j.feedback.Sender]; known {
			continue
		}
		var of orphans
		if err := tx.QueryRowContext(ctx, s.sql(`SELECT COUNT(*), COALESCE(SUM(LENGTH(record)), 0) FROM agiqa_feedback
			WHERE experiment = '' AND sender = ?`), j.feedback.Sender).Scan(&of.count, &of.bytes); err != nil {
			return nil, err
		}
		w.bySender[j.feedback.Sender] = &of
	}
	if len(w.bySender) == 0 {
		return w, nil
	}
	return w, tx.QueryRowContext(ctx, `SELECT COUNT(*) FROM agiqa_feedback WHERE experiment = ''`).Scan(&w.all)
}

// take counts an orphan, or says why there may not be another one.
func (w *waiting) take(f feedbackRow) error {
	of := w.bySender[f.Sender]
	size := int64(len(f.raw))
	switch {
	case of.count >= experiment.MaxOrphansOf || of.bytes+size > experiment.MaxOrphanBytesOf:
		return experiment.ErrOrphansOf
	case w.all >= experiment.MaxOrphans:
		return experiment.ErrOrphans
	}
	of.count, of.bytes, w.all = of.count+1, of.bytes+size, w.all+1
	return nil
}

// orphanRetry is what a client is advised whose feedback may not wait.
const orphanRetry = time.Minute

// resolveOrphan tells a job that its feedback may not wait, unless it does so
// already.
func (s *Store) resolveOrphan(ctx context.Context, tx *sql.Tx, j *job, again bool, full error) error {
	var there bool
	err := tx.QueryRowContext(ctx, s.sql(`SELECT EXISTS (SELECT 1 FROM agiqa_feedback WHERE idempotency = ?)`),
		j.feedback.Key).Scan(&there)
	if err != nil {
		return err
	}
	if there {
		return s.resolveRepeated(ctx, tx, j, again)
	}
	j.err = quality.Errorf(quality.KindRateLimited, "no exposure of what the feedback is about is known, and %w", full).
		After(orphanRetry)
	return nil
}

// PurgeOrphans removes the orphans whose time has passed and returns their
// number. Appends do so too, and the store by itself from time to time.
func (s *Store) PurgeOrphans(ctx context.Context) (int64, error) {
	var removed int64
	if _, err := s.Now(ctx); err != nil {
		return 0, err
	}
	err := s.writer.do(ctx, &job{alone: func(ctx context.Context, tx *sql.Tx, _ bool) (err error) {
		removed, err = s.expire(ctx, tx)
		return err
	}})
	return removed, err
}

func (s *Store) expire(ctx context.Context, tx *sql.Tx) (int64, error) {
	statement := `DELETE FROM agiqa_feedback WHERE experiment = '' AND at < ?`
	var now time.Time
	if s.clock.own != nil {
		now = s.clock.at(s.clock.own()).Earliest
	} else {
		var known bool
		if now, known = s.clock.counted(); !known {
			return 0, nil
		}
		statement += ` AND at < ` + s.dialect.nowMicros + fmt.Sprintf(" - %d", experiment.OrphanFor.Microseconds())
	}
	result, err := tx.ExecContext(ctx, s.sql(statement), now.Add(-experiment.OrphanFor).UnixMicro())
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}
