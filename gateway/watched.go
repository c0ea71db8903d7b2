package gateway

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"

	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// watchedBody remembers why a body could not be read. huma reports every such
// fault as its own (500), while nearly all of them are the client's. It also
// measures the reading, from the first byte asked for to the last one got.
type watchedBody struct {
	io.ReadCloser
	ctx    context.Context
	stages *scoring.Stages
	ids    *ids
	start  time.Time // zero: nothing was read
	bytes  int64
	over   bool
}

// Read implements [io.Reader].
func (b *watchedBody) Read(p []byte) (int, error) {
	if b.start.IsZero() {
		b.start = time.Now()
	}
	n, err := b.ReadCloser.Read(p)
	b.bytes += int64(n)
	switch {
	case errors.Is(err, io.EOF):
		b.done(nil)
	case err != nil:
		b.ids.bodyErr = err
		b.done(bodyFault(err))
	}
	return n, err
}

// done reports the stage, once.
func (b *watchedBody) done(err error) {
	if b.over || b.start.IsZero() {
		return
	}
	b.over = true
	b.stages.Record(b.ctx, b.ids.timings, scoring.StageRead, b.start, time.Now(), err,
		attribute.Int64("http.request.body.size", b.bytes))
}

// watchedWriter settles the request's body before anything is written, and
// remembers that an answer could not be written. Nobody above it would know:
// huma hides most such faults and panics on the others.
type watchedWriter struct {
	gin.ResponseWriter
	ids *ids
}

// Write implements [io.Writer].
func (w *watchedWriter) Write(p []byte) (int, error) {
	w.ids.body.settle()
	n, err := w.ResponseWriter.Write(p)
	w.note(err)
	return n, err
}

// WriteString implements [io.StringWriter].
func (w *watchedWriter) WriteString(s string) (int, error) {
	w.ids.body.settle()
	n, err := w.ResponseWriter.WriteString(s)
	w.note(err)
	return n, err
}

// WriteHeaderNow implements [gin.ResponseWriter].
func (w *watchedWriter) WriteHeaderNow() {
	w.ids.body.settle()
	w.ResponseWriter.WriteHeaderNow()
}

// Flush implements [http.Flusher].
func (w *watchedWriter) Flush() {
	w.ids.body.settle()
	w.ResponseWriter.Flush()
}

// SetReadDeadline keeps huma from setting one: see arriving.
func (w *watchedWriter) SetReadDeadline(time.Time) error { return nil }

// Unwrap lets [http.ResponseController] reach the connection's deadlines.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *watchedWriter) note(err error) {
	if err != nil && w.ids.writeErr == nil {
		w.ids.writeErr = err
		w.ids.fail(quality.Errorf(quality.KindClientClosedRequest,
			"the client disconnected before the response was complete").Because(err))
	}
}

// bodyFault says whose fault it is that a body could not be read: a broken
// connection is a client that left; everything else is a malformed message.
func bodyFault(err error) error {
	if e, ok := errors.AsType[*quality.Error](err); ok { // our own refusal to read on
		return e
	}
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return quality.Errorf(quality.KindClientClosedRequest, "the client disconnected while sending the body").Because(err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return quality.Errorf(quality.KindBadRequest, "the body is shorter than its Content-Length").Because(err)
	}
	return quality.Errorf(quality.KindBadRequest, "reading the body failed").Because(err)
}

func bodyTooLarge(limit int64) error {
	return quality.Errorf(quality.KindPayloadTooLarge, "the body is larger than %d bytes", limit)
}
