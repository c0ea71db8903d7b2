package sqlstore

import (
	"context"
	"database/sql"
	"errors"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// exposureRow is an exposure that is ready to be written.
type exposureRow struct {
	experiment.Exposure
	raw []byte
}

// feedbackRow is a piece of feedback that is ready to be written.
type feedbackRow struct {
	experiment.Feedback
	raw []byte
}

// AppendExposures implements experiment.Store. The exposures of one call are
// written together.
func (s *Store) AppendExposures(ctx context.Context, exposures []experiment.Exposure) error {
	rows := make([]exposureRow, len(exposures))
	for i, e := range exposures {
		raw, err := encode(e, e.ID, e.Assignment, string(e.Experiment))
		if err != nil {
			return err
		}
		rows[i] = exposureRow{e, raw}
	}
	if len(rows) == 0 {
		return nil
	}
	return s.writer.do(ctx, &job{exposures: rows})
}

// AppendFeedback implements experiment.Store.
func (s *Store) AppendFeedback(ctx context.Context, f experiment.Feedback) (experiment.Receipt, error) {
	row, err := newFeedbackRow(f)
	if err != nil {
		return experiment.Receipt{}, err
	}
	j := &job{feedback: &row}
	if err := s.writer.do(ctx, j); err != nil {
		return experiment.Receipt{}, err
	}
	return j.receipt, nil
}

func newFeedbackRow(f experiment.Feedback) (feedbackRow, error) {
	raw, err := encode(f, f.Key, f.Assignment, string(f.Experiment), f.Task, f.Sender)
	return feedbackRow{f, raw}, err
}

// appendJobs writes the records of many callers. Exposures come first, so that
// feedback on them is no orphan.
func (s *Store) appendJobs(ctx context.Context, tx *sql.Tx, jobs []*job, again bool) error {
	var l log
	if err := tx.QueryRowContext(ctx, s.dialect.lockLog).Scan(&l.last); err != nil {
		return err
	}
	if _, err := s.expire(ctx, tx); err != nil {
		return err
	}
	var exposures []exposureRow
	var feedback []*job
	for _, j := range jobs {
		exposures = append(exposures, j.exposures...)
		if j.feedback != nil {
			feedback = append(feedback, j)
		}
	}
	if err := s.insertExposures(ctx, tx, &l, exposures); err != nil {
		return err
	}
	if err := s.insertFeedback(ctx, tx, &l, feedback, again); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, s.sql(`UPDATE agiqa_log SET last = ? WHERE id = 1`), l.last)
	return err
}

// log numbers records. It is held by one transaction at a time.
type log struct{ last int64 }

func (l *log) next() int64 {
	l.last++
	return l.last
}

// maxRows bounds the placeholders of one statement: SQLite takes 32,766.
const maxRows = 512

// insertExposures writes those that are not there yet, and joins the orphans
// that waited for them.
func (s *Store) insertExposures(ctx context.Context, tx *sql.Tx, l *log, rows []exposureRow) error {
	for len(rows) > 0 {
		chunk := rows[:min(len(rows), maxRows)]
		rows = rows[len(chunk):]
		bySeq := make(map[int64]experiment.Exposure, len(chunk))
		args := make([]any, 0, 7*len(chunk))
		for _, r := range chunk {
			seq := l.next()
			bySeq[seq] = r.Exposure
			args = append(args, seq, r.ID, string(r.Experiment), r.Assignment, image(r.Image), number(r.Blind), r.raw)
		}
		written, err := s.insert(ctx, tx,
			`INSERT INTO agiqa_exposures (seq, id, experiment, assignment, image, blind, record) VALUES `+
				tuples(len(chunk), 7)+` ON CONFLICT (id) DO NOTHING RETURNING seq`, args)
		if err != nil {
			return err
		}
		if err := s.joinOrphans(ctx, tx, l, bySeq, written); err != nil {
			return err
		}
	}
	return nil
}

// insert returns the sequence numbers of the rows that were new, as a set.
func (s *Store) insert(ctx context.Context, tx *sql.Tx, statement string, args []any) (map[int64]bool, error) {
	rows, err := tx.QueryContext(ctx, s.sql(statement), args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	written := make(map[int64]bool)
	for rows.Next() {
		var seq int64
		if err := rows.Scan(&seq); err != nil {
			return nil, err
		}
		written[seq] = true
	}
	return written, rows.Err()
}

// feedbackColumns is how many columns of a piece of feedback are written.
const feedbackColumns = 11

// insertFeedback writes what has a new key and answers no task that was answered
// before, and tells every job what became of its own.
func (s *Store) insertFeedback(ctx context.Context, tx *sql.Tx, l *log, jobs []*job, again bool) error {
	w, err := s.waiting(ctx, tx, jobs)
	if err != nil {
		return err
	}
	for len(jobs) > 0 {
		chunk := jobs[:min(len(jobs), maxRows)]
		jobs = jobs[len(chunk):]
		bySeq := make(map[int64]*job, len(chunk))
		args := make([]any, 0, feedbackColumns*len(chunk))
		for _, j := range chunk {
			f, err := s.joinKnown(ctx, tx, *j.feedback)
			if err != nil {
				return err
			}
			if f.Experiment == "" {
				if full := w.take(f); full != nil {
					if err := s.resolveOrphan(ctx, tx, j, again, full); err != nil {
						return err
					}
					continue
				}
			}
			seq := l.next()
			bySeq[seq] = j
			j.receipt.Feedback = f.Feedback
			args = append(args, seq, f.Key, string(f.Experiment), f.Time.UnixMicro(), f.Assignment,
				image(f.Image), image(f.ImageA), image(f.ImageB), text(f.Task), f.Sender, f.raw)
		}
		if len(bySeq) == 0 {
			continue
		}
		written, err := s.insert(ctx, tx, `INSERT INTO agiqa_feedback
			(seq, idempotency, experiment, at, assignment, image, image_a, image_b, task, sender, record) VALUES `+
			tuples(len(bySeq), feedbackColumns)+` ON CONFLICT DO NOTHING RETURNING seq`, args)
		if err != nil {
			return err
		}
		for seq, j := range bySeq {
			if written[seq] {
				continue
			}
			if err := s.resolveRepeated(ctx, tx, j, again); err != nil {
				return err
			}
		}
	}
	return nil
}

// joinKnown joins an orphan whose exposure was written since its caller looked.
func (s *Store) joinKnown(ctx context.Context, tx *sql.Tx, f feedbackRow) (feedbackRow, error) {
	if f.Experiment != "" {
		return f, nil
	}
	e, found, err := s.exposureOf(ctx, tx, f.Feedback)
	if err != nil || !found {
		return f, err
	}
	return newFeedbackRow(f.Joined(e))
}

// resolveRepeated tells a job whose key was there before whether it is a
// duplicate or in conflict. On a second attempt the record may be the job's own.
func (s *Store) resolveRepeated(ctx context.Context, tx *sql.Tx, j *job, again bool) error {
	var raw []byte
	err := tx.QueryRowContext(ctx, s.sql(`SELECT record FROM agiqa_feedback WHERE idempotency = ?`),
		j.feedback.Key).Scan(&raw)
	if errors.Is(err, sql.ErrNoRows) {
		j.err = quality.Errorf(quality.KindConflict, "this task was answered before, under another idempotency key")
		return nil
	}
	if err != nil {
		return err
	}
	stored, err := decode[experiment.Feedback](raw)
	if err != nil {
		return err
	}
	if stored.Body != j.feedback.Body {
		j.err = quality.Errorf(quality.KindConflict, "this idempotency key was used for different feedback")
		return nil
	}
	own := again && stored.ID == j.feedback.ID
	j.receipt = experiment.Receipt{Feedback: stored, Duplicate: !own}
	return nil
}
