package experiment

import (
	"context"
	"iter"

	"github.com/agiqa/agiqa/quality"
)

// Receipt says what became of a piece of feedback that was appended.
type Receipt struct {
	Feedback  Feedback // as it is stored
	Duplicate bool     // it was there before, with the same body
}

// Store keeps experiments and their records. What it has acknowledged survives
// the process and the power. Errors are *[quality.Error]: not_found, conflict,
// and store_unavailable for whatever the disk or the database did.
type Store interface {
	// Create adds an experiment with its first audit record; conflict where
	// the id is taken.
	Create(ctx context.Context, e Experiment, a Audit) error
	// Get returns one experiment: not_found.
	Get(ctx context.Context, id ID) (Experiment, error)
	// List returns all of them, the oldest first.
	List(ctx context.Context) ([]Experiment, error)
	// Swap replaces an experiment if its stored revision is was, and adds the
	// audit record in the same transaction; conflict otherwise. Of two
	// controllers one wins.
	Swap(ctx context.Context, was int64, e Experiment, a Audit) error
	// Audits returns the audit trail, the oldest first.
	Audits(ctx context.Context, id ID) ([]Audit, error)

	// AppendExposures is durable when it returns. An id that is there already
	// is left alone.
	AppendExposures(ctx context.Context, exposures []Exposure) error
	// AppendFeedback is durable when it returns. The same key with the same
	// body is a duplicate, with another body a conflict. Feedback on an
	// exposure that is not there is kept as an orphan for OrphanFor, and joins
	// it when it appears, at a new place at the end of the log.
	AppendFeedback(ctx context.Context, f Feedback) (Receipt, error)
	// ByAssignment returns the exposure that a client was told of: not_found.
	ByAssignment(ctx context.Context, assignment string) (Exposure, error)
	// ByImage returns the latest exposure of an image in a running experiment:
	// not_found.
	ByImage(ctx context.Context, image quality.Digest) (Exposure, error)

	// Exposures goes through an experiment's exposures in the order in which
	// they were written. after is the sequence number to go on from; 0: all.
	Exposures(ctx context.Context, id ID, after int64) iter.Seq2[Sequenced[Exposure], error]
	// Feedback goes through its feedback likewise.
	Feedback(ctx context.Context, id ID, after int64) iter.Seq2[Sequenced[Feedback], error]

	// Close waits for what is being written.
	Close() error
}

// Sequenced is a record with its place in the log. Places grow; they may have
// gaps.
type Sequenced[T any] struct {
	Seq    int64
	Record T
}
