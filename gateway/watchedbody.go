package gateway

import (
	"errors"
	"io"
	"net"

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
