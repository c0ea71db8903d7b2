package load

import (
	"context"
	"time"
)

// Target is what is measured.
type Target interface {
	// Name tells it apart in reports.
	Name() string
	// Open gives a lane. Once ctx ends, whatever the lane is doing fails.
	Open(ctx context.Context) Lane
}

// Lane carries one request at a time. It belongs to one goroutine.
type Lane interface {
	// Send sends request n, once, and waits for the answer, until the deadline.
	Send(n int, deadline time.Time) Answer
	Close()
}

// Answer is what came of one request.
type Answer struct {
	Wrote   bool      // something of the request went out
	Status  int       // HTTP status; 0: no answer, or none with a status
	Failure Failure   // "": the answer came whole and is one that was expected
	First   time.Time // first byte of the answer; zero: none
	Bytes   int       // of the answer's body
	Stages  []Stage   // the server's own times, if it reports them; valid until the lane's next Send
}

// Stage is a part of the server's work on a request.
type Stage struct {
	Name string
	MS   float64
}

// Failure says why a request has no expected answer. The set is small, so that
// failures can be counted by it.
type Failure string

// The failures of any target; status_NNN and those of Triton come on top.
const (
	Refused  Failure = "refused"     // nothing listens there
	NoDial   Failure = "dial"        // other faults before a connection stood
	Reset    Failure = "reset"       // the connection was reset
	Hangup   Failure = "closed"      // it was closed before the answer was whole
	TimedOut Failure = "timeout"     // no whole answer in time
	Garbled  Failure = "protocol"    // the answer is malformed
	TooLarge Failure = "too_large"   // the answer is larger than we read
	BadImage Failure = "image_error" // the answer came whole and has no score for an image
	Busy     Failure = "overloaded"  // the target rejected it for lack of capacity; over HTTP that is a status
	CutOff   Failure = "cut_off"     // the run ended first
)
