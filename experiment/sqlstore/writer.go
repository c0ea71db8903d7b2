package sqlstore

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"sync"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// job is one call that writes. The writer sets what came of it before it
// closes done; a caller that left does not look.
type job struct {
	exposures []exposureRow
	feedback  *feedbackRow
	// alone is what wants a transaction of its own. It may run again after an
	// attempt of which nobody knows whether it was committed.
	alone func(ctx context.Context, tx *sql.Tx, again bool) error

	receipt experiment.Receipt
	err     error
	done    chan struct{}
}

// finish tells the caller.
func (j *job) finish(err error) {
	if j.err == nil && err != nil {
		j.err = err
	}
	close(j.done)
}

// writer is the one goroutine that writes. Appends that wait while it commits
// share the next transaction; when nothing waits, an append is written at once.
type writer struct {
	store *Store
	queue chan *job
	ended chan struct{}

	mu     sync.RWMutex // held for reading while a job enters the queue
	closed bool

	before int // jobs in the transaction before
}

func newWriter(s *Store) *writer {
	w := &writer{store: s, queue: make(chan *job, queueSize), ended: make(chan struct{})}
	go w.run()
	return w
}

// do hands a job to the writer and waits until it is done or the caller leaves.
// A job whose caller left may still be done.
func (w *writer) do(ctx context.Context, j *job) error {
	j.done = make(chan struct{})
	if err := w.enter(ctx, j); err != nil {
		return err
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return left(ctx)
	}
}

func (w *writer) enter(ctx context.Context, j *job) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return closed()
	}
	if ctx.Err() != nil {
		return left(ctx)
	}
	select {
	case w.queue <- j:
		return nil
	case <-ctx.Done():
		return left(ctx)
	}
}

// close lets in nobody else and returns when all that waited is done.
func (w *writer) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.ended
}

func (w *writer) run() {
	defer close(w.ended)
	for first := range w.queue {
		jobs := w.gather(first)
		w.before = len(jobs)
		w.write(jobs)
	}
}

// gather returns first and what waits with it. Callers that were just told
// need a moment to come back with their next append; a writer that had several
// of them waits for as many, for a bounded time, rather than commit the first
// one alone.
func (w *writer) gather(first *job) []*job {
	jobs, records := []*job{first}, first.records()
	take := func(j *job) { jobs, records = append(jobs, j), records+j.records() }
	for waiting := true; waiting && records < batchSize; {
		select {
		case j, open := <-w.queue:
			if !open {
				return jobs
			}
			take(j)
		default:
			waiting = false
		}
	}
	if w.before <= 1 {
		return jobs
	}
	timer := time.NewTimer(gatherTime)
	defer timer.Stop()
	for records < batchSize && len(jobs) < w.before {
		select {
		case j, open := <-w.queue:
			if !open {
				return jobs
			}
			take(j)
		case <-timer.C:
			return jobs
		}
	}
	return jobs
}

func (j *job) records() int { return max(1, len(j.exposures)) }

// write commits the appends together and everything else by itself.
func (w *writer) write(jobs []*job) {
	var appends []*job
	for _, j := range jobs {
		if j.alone == nil {
			appends = append(appends, j)
			continue
		}
		j.finish(w.store.describe(w.store.transact(j.alone)))
	}
	if len(appends) == 0 {
		return
	}
	err := w.store.append(appends)
	if err == nil || len(appends) == 1 || w.store.faultOf(err) != ofRecord {
		for _, j := range appends {
			j.finish(w.store.describe(err))
		}
		return
	}
	// One of them cannot be written. The others must not suffer for it.
	for _, j := range appends {
		j.finish(w.store.describe(w.store.append([]*job{j})))
	}
}

// describe is unavailable for an error that no caller's leaving explains.
func (s *Store) describe(err error) error { return unavailable(context.Background(), s.dialect, err) }

// append writes the jobs' records in one transaction.
func (s *Store) append(jobs []*job) error {
	return s.transact(func(ctx context.Context, tx *sql.Tx, again bool) error {
		for _, j := range jobs {
			j.receipt, j.err = experiment.Receipt{}, nil
		}
		return s.appendJobs(ctx, tx, jobs, again)
	})
}

// transact runs work in a transaction and commits it. Where the connection or
// the disk failed it tries once more, with new connections; work is told so,
// because the first attempt may have been committed.
func (s *Store) transact(work func(ctx context.Context, tx *sql.Tx, again bool) error) error {
	err := s.attempt(func(ctx context.Context, tx *sql.Tx) error { return work(ctx, tx, false) })
	if err == nil || s.faultOf(err) != ofLink {
		return err
	}
	drop(s.dialect.write, 1)
	return s.attempt(func(ctx context.Context, tx *sql.Tx) error { return work(ctx, tx, true) })
}

// attempt is one transaction. It has a time of its own: it is of many callers.
func (s *Store) attempt(work func(context.Context, *sql.Tx) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), lockWait+timeout)
	defer cancel()
	if err := s.look(); err != nil {
		return err
	}
	if err := s.ready(ctx); err != nil {
		return err
	}
	conn, err := s.dialect.write.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = inTransaction(ctx, conn, work)
	if err != nil && s.faultOf(err) != ofRecord {
		// Nobody knows what state this connection is in.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
	return err
}

func inTransaction(ctx context.Context, conn *sql.Conn, work func(context.Context, *sql.Tx) error) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := work(ctx, tx); err != nil {
		_ = tx.Rollback()
		return err
	}
	return tx.Commit()
}

// faultOf is dialect.fault for an error that may not be of the database at all.
func (s *Store) faultOf(err error) fault {
	if _, ok := errors.AsType[*quality.Error](err); ok {
		return ofRecord
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return ofLock // it has waited already
	}
	return s.dialect.fault(err)
}
