package experiment

import (
	"context"
	"errors"
	"iter"

	"github.com/agiqa/agiqa/quality"
)

// Limits of feedback that waits for an exposure. Several gateways, or a store
// that is slow, can let feedback come before its exposure, but not much of it.
const (
	MaxOrphans       = 10_000  // of everybody
	MaxOrphansOf     = 1000    // of one sender
	MaxOrphanBytesOf = 1 << 20 // of one sender's records
)

// Errors of feedback that is one too many to wait; they are wrapped in a
// *[quality.Error] of kind rate_limited.
var (
	ErrOrphans   = errors.New("too much feedback waits for its exposure")
	ErrOrphansOf = errors.New("too much feedback of one sender waits for its exposure")
)

// ErrOthersChanged is the cause of the conflict of [Store.SwapBeside] where other
// experiments are not as the caller saw them.
var ErrOthersChanged = errors.New("other experiments have changed")

// Sighting says that an image was scored in an experiment, and whether nobody
// was shown a score.
type Sighting struct {
	Experiment ID
	Image      quality.Digest
	Blind      bool
}

// Receipt says what became of a piece of feedback that was appended.
type Receipt struct {
	Feedback  Feedback // as it is stored
	Duplicate bool     // it was there before, with the same body
}

// Store keeps experiments and their records. What it has acknowledged survives
// the process and the power. Errors are *[quality.Error]: not_found, conflict,
// and store_unavailable for whatever the disk or the database did.
type Store interface {
	// Now is the time by which everybody who uses the store goes.
	Now(ctx context.Context) (Instant, error)

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
	// SwapBeside is Swap where the other experiments that run or are paused are those
	// of open, at these revisions; otherwise a conflict because of [ErrOthersChanged].
	// So what a caller concluded from them holds when e is written.
	SwapBeside(ctx context.Context, was int64, e Experiment, a Audit, open map[ID]int64) error
	// Delete removes an experiment and its audit records if its stored revision is
	// was: not_found, conflict. It is for drafts, which have no other records.
	Delete(ctx context.Context, id ID, was int64) error
	// Audits returns the audit trail, the oldest first.
	Audits(ctx context.Context, id ID) ([]Audit, error)

	// AppendExposures is durable when it returns. An id that is there already
	// is left alone.
	AppendExposures(ctx context.Context, exposures []Exposure) error
	// AppendFeedback is durable when it returns. The same key with the same
	// body is a duplicate, with another body a conflict, and so is a task that
	// was answered before. Feedback on an exposure that is not there is kept as
	// an orphan for OrphanFor, and joins it when it appears, at a new place at
	// the end of the log; rate_limited where too many wait.
	AppendFeedback(ctx context.Context, f Feedback) (Receipt, error)
	// ByAssignment returns the exposure that a client was told of: not_found.
	ByAssignment(ctx context.Context, assignment string) (Exposure, error)
	// ByImage returns the latest exposure of an image in a running experiment, or
	// else in one that is paused or has ended: not_found.
	ByImage(ctx context.Context, image quality.Digest) (Exposure, error)

	// Sightings goes through the images of an experiment's exposures, as
	// Exposures does, and is quicker.
	Sightings(ctx context.Context, id ID, after int64) iter.Seq2[Sequenced[Sighting], error]
	// SightingsOf returns how an image was seen in experiments that run or are
	// paused, each way once.
	SightingsOf(ctx context.Context, image quality.Digest) ([]Sighting, error)

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
