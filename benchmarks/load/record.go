package load

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is how a scheduled request ended.
type Outcome uint8

// The outcomes. Every scheduled request has exactly one.
const (
	Unsent    Outcome = iota // the run ended before its turn
	Dropped                  // too many were waiting when it was due
	Failed                   // no expected answer: an error of the target
	Completed                // an expected answer came whole
)

var outcomeNames = [...]string{"unsent", "dropped", "error", "completed"}

func (o Outcome) String() string { return outcomeNames[min(int(o), len(outcomeNames)-1)] }

// Record is all that is known of one scheduled request. Times count from the
// start of the run; those of what did not happen are 0.
type Record struct {
	Due     time.Duration // by the schedule; in a closed loop, when it was sent
	Start   time.Duration // a connection took it
	First   time.Duration // first byte of the answer
	Done    time.Duration // the answer was whole, or there was none to come
	Own     time.Duration // how late the generator was, by no fault of the target
	Outcome Outcome
	Wrote   bool // something of it went out
	Status  uint16
	Failure Failure
	Bytes   int64
	Stages  []float32 // ms, in the order of Run.Stages; negative: unknown
}

// Latency is what a caller waited: from when the request was due.
func (r Record) Latency() time.Duration { return r.Done - r.Due }

// Loop says who decides when the next request is sent.
type Loop string

// The loops.
const (
	OpenLoop   Loop = "open"   // the schedule
	ClosedLoop Loop = "closed" // the answer to the one before
)

// Run is a measurement: what was to be sent, and what came of it.
type Run struct {
	Target  string
	Loop    Loop
	Started time.Time
	Length  time.Duration // of the schedule
	Took    time.Duration // until the last answer
	CPU     time.Duration // processor time of the generator's process meanwhile
	Stages  []string
	Records []Record
	Process *ProcessUse // of the target meanwhile; nil: not watched
	Behind  *Behind     // what stood behind the target did meanwhile; nil: not watched
	// Broken says why the run was cut short; nil: it was not.
	Broken error
}

// ProcessUse is what the processes of a target used during a run.
type ProcessUse struct {
	CPU   time.Duration `json:"cpu_ns"`
	RSSKB int64         `json:"rss_kb"` // at the end
	FDs   int           `json:"fds"`    // at the end
}

// Check holds what has to be true of every run: each request has one outcome,
// and its times are in order.
func (r Run) Check() error {
	var counts [len(outcomeNames)]int
	for i, rec := range r.Records {
		if int(rec.Outcome) >= len(counts) {
			return fmt.Errorf("request %d has outcome %d", i, rec.Outcome)
		}
		counts[rec.Outcome]++
		sent := rec.Outcome == Failed || rec.Outcome == Completed
		switch {
		case sent && (rec.Start < rec.Due || rec.Done < rec.Start):
			return fmt.Errorf("request %d: due %s, started %s, done %s", i, rec.Due, rec.Start, rec.Done)
		case !sent && (rec.Wrote || rec.Done != 0):
			return fmt.Errorf("request %d is %s and was sent", i, rec.Outcome)
		case (rec.Outcome == Failed) != (rec.Failure != ""):
			return fmt.Errorf("request %d is %s with failure %q", i, rec.Outcome, rec.Failure)
		}
	}
	if sum := counts[Unsent] + counts[Dropped] + counts[Failed] + counts[Completed]; sum != len(r.Records) {
		return fmt.Errorf("%d outcomes of %d requests", sum, len(r.Records))
	}
	return nil
}

// errEveryFailed is the only failure of the target that is one of the run.
var errEveryFailed = errors.New("every request failed")

// Err reports whether the run itself succeeded. Errors of the target are
// results; only if every request failed has nothing been measured.
func (r Run) Err() error {
	if r.Broken != nil {
		return r.Broken
	}
	if err := r.Check(); err != nil {
		return fmt.Errorf("inconsistent records: %w", err)
	}
	first := Failure("")
	for _, rec := range r.Records {
		if rec.Outcome == Completed {
			return nil
		}
		if first == "" {
			first = rec.Failure
		}
	}
	if first == "" {
		first = "nothing was sent"
	}
	return fmt.Errorf("%s: %w (the first: %s)", r.Target, errEveryFailed, first)
}
