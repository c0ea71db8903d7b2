package gateway

import (
	"context"
	"regexp"
	"time"

	"github.com/google/uuid"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/scoring"
)

// ids are what one request is known by, and what went wrong with it. A request
// is handled by one goroutine at a time, so there is no lock.
type ids struct {
	Request  string
	Trace    string
	client   string // who asks, as limits and shares count
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
		i.err = err
	}
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
