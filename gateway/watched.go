package gateway

import (
	"errors"
	"io"
	"net"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/quality"
)

// watchedBody remembers why a body could not be read. huma reports every such
// fault as its own (500), while nearly all of them are the client's.
type watchedBody struct {
	io.ReadCloser
	ids *ids
}

// Read implements [io.Reader].
func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		b.ids.bodyErr = err
	}
	return n, err
}

// watchedWriter remembers that an answer could not be written. Nobody above it
// would know: huma hides most such faults and panics on the others.
type watchedWriter struct {
	gin.ResponseWriter
	ids *ids
}

// Write implements [io.Writer].
func (w *watchedWriter) Write(p []byte) (int, error) {
	n, err := w.ResponseWriter.Write(p)
	w.note(err)
	return n, err
}

// WriteString implements [io.StringWriter].
func (w *watchedWriter) WriteString(s string) (int, error) {
	n, err := w.ResponseWriter.WriteString(s)
	w.note(err)
	return n, err
}

// Unwrap lets [http.ResponseController] reach the connection's deadlines.
func (w *watchedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w *watchedWriter) note(err error) {
	if err != nil && w.ids.writeErr == nil {
		w.ids.writeErr = err
		w.ids.fail(quality.Errorf(quality.KindClientClosedRequest, "the client went away while it was answered").Because(err))
	}
}

// bodyFault says whose fault it is that a body could not be read: a broken
// connection is a client that left; everything else is a malformed message.
func bodyFault(err error) error {
	if _, ok := errors.AsType[*net.OpError](err); ok {
		return quality.Errorf(quality.KindClientClosedRequest, "the client went away while it sent the body").Because(err)
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return quality.Errorf(quality.KindBadRequest, "the body ends before its announced length").Because(err)
	}
	return quality.Errorf(quality.KindBadRequest, "the body cannot be read").Because(err)
}

func bodyTooLarge(limit int64) error {
	return quality.Errorf(quality.KindPayloadTooLarge, "the body is larger than %d bytes", limit)
}
