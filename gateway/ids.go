package gateway

import (
	"context"
	"errors"
	"regexp"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// ids are what one request is known by, and what went wrong with it. A request
// is handled by one goroutine at a time, so there is no lock.
type ids struct {
	Request  string
	Trace    string
	client   string          // who asks, as limits and shares count
	origin   context.Context // ends when the client leaves, and when the server can't wait any longer
	start    time.Time
	timings  *scoring.Timings
	body     *arriving
	gathered *gatheredBody // of routes that take a large body
	err      error
	bodyErr  error // why the body could not be read to its end
	writeErr error // why the answer could not be written to its end
	stranger error // why the key of the request is not valid
}

// newIDs takes the id that the caller gave, where it is a safe one.
func newIDs(given string, start time.Time, span trace.Span) *ids {
	id := &ids{Request: requestID(given), start: start, timings: &scoring.Timings{}}
	if sc := span.SpanContext(); sc.HasTraceID() {
		id.Trace = sc.TraceID().String()
	}
	return id
}

// fail notes the error that the request is answered with, for its log line.
func (i *ids) fail(err error) {
	if i.err == nil {
		i.err = i.explain(err)
	}
}

// explain tells requests that the server cut short from those whose client left:
// code below this package sees a cancelled context either way, and a body that
// stops coming.
func (i *ids) explain(err error) error {
	cause := interrupted(i.origin)
	switch kind := quality.KindOf(err); {
	case cause == nil, i.writeErr != nil:
	case kind == quality.KindClientClosedRequest, kind == quality.KindRequestTimeout:
		return cause.Because(err)
	}
	return err
}

// abandoned reports whether the client left before it had an answer. A body that
// came too slowly was answered, and a shutdown isn't the client's.
func (i *ids) abandoned() bool {
	return i.err != nil && i.origin.Err() != nil && (i.writeErr != nil ||
		quality.KindOf(i.err) != quality.KindRequestTimeout && interrupted(i.origin) == nil)
}

// interrupted returns the error that a request is answered with because the server
// can't wait for it any longer, nil where it goes on or its client left.
func interrupted(ctx context.Context) *quality.Error {
	if ctx == nil {
		return nil
	}
	cause, _ := errors.AsType[*quality.Error](context.Cause(ctx))
	return cause
}

type idsKey struct{}

func withIDs(ctx context.Context, i *ids) context.Context { return context.WithValue(ctx, idsKey{}, i) }

// idsOf never returns nil, so that code outside a request needs no special case.
func idsOf(ctx context.Context) *ids {
	if i, ok := ctx.Value(idsKey{}).(*ids); ok {
		return i
	}
	return &ids{start: time.Now(), timings: &scoring.Timings{}}
}

// safeRequestID is what a caller's X-Request-ID may look like; anything else
// would travel into headers and logs, so it is replaced.
var safeRequestID = regexp.MustCompile(`^[A-Za-z0-9._:-]{1,64}$`)

func requestID(given string) string {
	if safeRequestID.MatchString(given) {
		return given
	}
	id, err := uuid.NewV7()
	if err != nil { // no entropy: an id that repeats is better than no answer
		return uuid.Nil.String()
	}
	return id.String()
}
