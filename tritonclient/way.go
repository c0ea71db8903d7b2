package tritonclient

import (
	"context"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/agiqa/agiqa/quality"
)

// way is what gRPC tells of a call beside its reply.
type way struct {
	peer            peer.Peer   // has an address once a connection was found
	header, trailer metadata.MD // one of them is there once the server answered
}

// sent reports that the call went out on a connection.
func (w *way) sent() bool { return w.peer.Addr != nil }

// untouched is in the words of grpc-go for calls that a server sent back
// unread, by a reset of the stream or while it leaves.
var untouched = []string{"RST_STREAM", "server is draining"}

// lost reports that the connection broke with the call under way, so that the
// server may have died of it.
func (w *way) lost(err error) bool {
	s := status.Convert(err)
	if !w.sent() || s.Code() != codes.Unavailable || len(w.header)+len(w.trailer) > 0 {
		return false
	}
	for _, text := range untouched {
		if strings.Contains(s.Message(), text) {
			return false
		}
	}
	return true
}

// admit lets a call with a passage into the server's room. Whoever leaves says
// whether the server was lost.
func (r *replica) admit(ctx context.Context) (leave func(lost bool), err error) {
	p, has := quality.PassageOf(ctx)
	if !has {
		return func(bool) {}, nil
	}
	g, err := r.room.enter(ctx, p.Alone, r.standing.patience())
	if err != nil {
		return nil, err
	}
	return func(lost bool) {
		if alone := g.leave(); lost {
			p.Lost(alone)
		}
	}, nil
}
