package tritonclient

import (
	"context"
	"strings"
	"time"

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

// stubDied is in the words of Triton's Python backend for calls whose model's
// process ended under them, and for all that follow.
const stubDied = "is not healthy"

// lost reports that the server was lost with the call under way: the connection
// broke, or the process of the model died.
func (w *way) lost(err error) bool {
	s := status.Convert(err)
	switch {
	case s.Code() == codes.Internal:
		return strings.Contains(s.Message(), stubDied)
	case !w.sent(), s.Code() != codes.Unavailable, len(w.header)+len(w.trailer) > 0:
		return false
	}
	for _, text := range untouched {
		if strings.Contains(s.Message(), text) {
			return false
		}
	}
	return true
}

// trialPatience is how long a call may keep others from its server: longer than
// Triton takes to notice that a model's process is dead, a second.
const trialPatience = 2 * time.Second

// admit lets a call with a passage into the server's room; leave says how the
// call ended. What begins at a server that is known to be ailing, because a
// process in it died or it said that it is leaving, is no evidence: it would be
// lost whatever it holds. An answer or a new connection ends that.
func (r *replica) admit(ctx context.Context) (leave func(w *way, err error), err error) {
	p, has := quality.PassageOf(ctx)
	if !has {
		return func(*way, error) {}, nil
	}
	g, err := r.room.enter(ctx, p.Alone, max(trialPatience, r.standing.patience()))
	if err != nil {
		return nil, err
	}
	begun := r.conns.begun.Load()
	ailing := r.ailing.Load() == begun
	return func(w *way, err error) {
		lost := w.lost(err)
		switch { // before the next one is let in
		case err == nil:
			r.ailing.Store(0)
		case lost, meaningOf(err).leaves:
			r.ailing.Store(begun)
		}
		if alone := g.leave(); lost && !ailing {
			p.Lost(alone)
		}
	}, nil
}
