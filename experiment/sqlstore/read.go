package sqlstore

import (
	"context"
	"database/sql"
	"errors"
	"iter"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// pageSize is how many records an iterator holds. Between two pages it holds
// neither a connection nor a lock.
const pageSize = 256

// query reads rows, each through scan. Where the connection failed it tries
// once more with new ones, if nothing was scanned yet.
func (s *Store) query(ctx context.Context, scan func(*sql.Rows) error, statement string, args ...any) error {
	if ctx.Err() != nil {
		return left(ctx)
	}
	scanned := false
	once := func(rows *sql.Rows) error {
		scanned = true
		return scan(rows)
	}
	err := s.queryOnce(ctx, once, statement, args)
	if err != nil && !scanned && ctx.Err() == nil && s.faultOf(err) == ofLink {
		drop(s.dialect.read, readers)
		err = s.queryOnce(ctx, once, statement, args)
	}
	return unavailable(ctx, s.dialect, err)
}

func (s *Store) queryOnce(ctx context.Context, scan func(*sql.Rows) error, statement string, args []any) error {
	ctx, cancel := context.WithTimeout(ctx, lockWait+timeout)
	defer cancel()
	if err := s.look(); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	rows, err := s.dialect.read.QueryContext(ctx, s.sql(statement), args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// records reads whole records.
func records[T any](ctx context.Context, s *Store, statement string, args ...any) ([]T, error) {
	var all []T
	err := s.query(ctx, func(rows *sql.Rows) error {
		var raw []byte
		if err := rows.Scan(&raw); err != nil {
			return err
		}
		record, err := decode[T](raw)
		all = append(all, record)
		return err
	}, statement, args...)
	return all, err
}

// one reads the first record.
func one[T any](ctx context.Context, s *Store, statement string, args ...any) (record T, found bool, err error) {
	all, err := records[T](ctx, s, statement, args...)
	if err != nil || len(all) == 0 {
		return record, false, err
	}
	return all[0], true, nil
}

// ByAssignment implements experiment.Store.
func (s *Store) ByAssignment(ctx context.Context, assignment string) (experiment.Exposure, error) {
	e, found, err := one[experiment.Exposure](ctx, s, byAssignment, assignment)
	if err == nil && !found {
		err = quality.Errorf(quality.KindNotFound, "no exposure found for this assignment")
	}
	return e, err
}

// ByImage implements experiment.Store.
func (s *Store) ByImage(ctx context.Context, digest quality.Digest) (experiment.Exposure, error) {
	for _, statement := range byImages {
		e, found, err := one[experiment.Exposure](ctx, s, statement, image(digest), nil, nil)
		if err != nil || found {
			return e, err
		}
	}
	return experiment.Exposure{}, quality.Errorf(quality.KindNotFound, "no exposure of this image found")
}

const byAssignment = `SELECT record FROM agiqa_exposures WHERE assignment = ? AND assignment <> '' ORDER BY seq LIMIT 1`

// byImages are asked one after the other: for running experiments, then for those
// that wait or have ended, whose images may still be labelled.
var byImages = [2]string{byImagesWhere("="), byImagesWhere("<>")}

func byImagesWhere(operator string) string {
	return `SELECT x.record FROM agiqa_exposures x JOIN agiqa_experiments e ON e.id = x.experiment
		WHERE x.image IN (?, ?, ?) AND e.state ` + operator + ` '` + string(experiment.Running) +
		`' ORDER BY x.seq DESC LIMIT 1`
}

// exposureOf returns what feedback is on, within the transaction that writes it.
func (s *Store) exposureOf(ctx context.Context, tx *sql.Tx,
	f experiment.Feedback) (e experiment.Exposure, found bool, err error) {
	statements, args := byImages[:], []any{image(f.Image), image(f.ImageA), image(f.ImageB)}
	if f.Assignment != "" {
		statements, args = []string{byAssignment}, []any{f.Assignment}
	}
	for _, statement := range statements {
		var raw []byte
		err = tx.QueryRowContext(ctx, s.sql(statement), args...).Scan(&raw)
		if errors.Is(err, sql.ErrNoRows) {
			continue
		}
		if err != nil {
			return e, false, err
		}
		e, err = decode[experiment.Exposure](raw)
		return e, err == nil, err
	}
	return e, false, nil
}

// Exposures implements experiment.Store.
func (s *Store) Exposures(ctx context.Context, id experiment.ID,
	after int64) iter.Seq2[experiment.Sequenced[experiment.Exposure], error] {
	return replay[experiment.Exposure](ctx, s,
		`SELECT seq, record FROM agiqa_exposures WHERE experiment = ? AND seq > ? ORDER BY seq LIMIT ?`, id, after)
}

// Feedback implements experiment.Store.
func (s *Store) Feedback(ctx context.Context, id experiment.ID,
	after int64) iter.Seq2[experiment.Sequenced[experiment.Feedback], error] {
	return replay[experiment.Feedback](ctx, s,
		`SELECT seq, record FROM agiqa_feedback WHERE experiment = ? AND seq > ? ORDER BY seq LIMIT ?`, id, after)
}

// Sightings implements experiment.Store.
func (s *Store) Sightings(ctx context.Context, id experiment.ID,
	after int64) iter.Seq2[experiment.Sequenced[experiment.Sighting], error] {
	return pages(after, sightingPage, func(place int64) ([]experiment.Sequenced[experiment.Sighting], error) {
		var page []experiment.Sequenced[experiment.Sighting]
		err := s.query(ctx, func(rows *sql.Rows) error {
			r := experiment.Sequenced[experiment.Sighting]{Record: experiment.Sighting{Experiment: id}}
			err := scanSighting(rows, &r.Record, &r.Seq)
			page = append(page, r)
			return err
		}, `SELECT image, blind, seq FROM agiqa_exposures WHERE experiment = ? AND seq > ? ORDER BY seq LIMIT ?`,
			string(id), place, sightingPage)
		return page, err
	})
}

// sightingPage is how many sightings an iterator holds; they are small.
const sightingPage = 4096

// SightingsOf implements experiment.Store.
func (s *Store) SightingsOf(ctx context.Context, digest quality.Digest) ([]experiment.Sighting, error) {
	var all []experiment.Sighting
	err := s.query(ctx, func(rows *sql.Rows) error {
		var one experiment.Sighting
		err := scanSighting(rows, &one, (*string)(&one.Experiment))
		all = append(all, one)
		return err
	}, `SELECT DISTINCT x.image, x.blind, x.experiment FROM agiqa_exposures x JOIN agiqa_experiments e ON e.id = x.experiment
		WHERE x.image = ? AND e.state IN (?, ?)`, image(digest), string(experiment.Running), string(experiment.Paused))
	return all, err
}

func scanSighting(rows *sql.Rows, to *experiment.Sighting, last any) error {
	var raw []byte
	var blind int
	err := rows.Scan(&raw, &blind, last)
	copy(to.Image[:], raw)
	to.Blind = blind != 0
	return err
}

// replay goes through a log page by page.
func replay[T any](ctx context.Context, s *Store, statement string, id experiment.ID,
	after int64) iter.Seq2[experiment.Sequenced[T], error] {
	if id == "" { // orphans are of nobody
		return func(func(experiment.Sequenced[T], error) bool) {}
	}
	return pages(after, pageSize, func(place int64) ([]experiment.Sequenced[T], error) {
		return readPage[T](ctx, s, statement, id, place)
	})
}

// pages goes through what read returns, which is at most size records from a
// place on.
func pages[T any](after int64, size int,
	read func(place int64) ([]experiment.Sequenced[T], error)) iter.Seq2[experiment.Sequenced[T], error] {
	return func(yield func(experiment.Sequenced[T], error) bool) {
		for place := after; ; {
			page, err := read(place)
			if err != nil {
				yield(experiment.Sequenced[T]{}, err)
				return
			}
			for _, r := range page {
				if !yield(r, nil) {
					return
				}
				place = r.Seq
			}
			if len(page) < size {
				return
			}
		}
	}
}

func readPage[T any](ctx context.Context, s *Store, statement string, id experiment.ID,
	after int64) ([]experiment.Sequenced[T], error) {
	var page []experiment.Sequenced[T]
	err := s.query(ctx, func(rows *sql.Rows) error {
		var r experiment.Sequenced[T]
		var raw []byte
		if err := rows.Scan(&r.Seq, &raw); err != nil {
			return err
		}
		record, err := decode[T](raw)
		r.Record = record
		page = append(page, r)
		return err
	}, statement, string(id), after, pageSize)
	return page, err
}
