package replicas

import (
	"context"
	"sync/atomic"

	"google.golang.org/grpc/stats"
)

// connections counts the connections to one address. grpc-go reports a new
// one before any call can use it, so a call that finds begun unchanged since
// the last check cannot be on a connection that was not checked.
type connections struct {
	begun atomic.Int64 // ever
	open  atomic.Int64 // now; more than one when a name stands for several servers
}

var _ stats.Handler = (*connections)(nil)

// HandleConn implements [stats.Handler].
func (c *connections) HandleConn(_ context.Context, s stats.ConnStats) {
	switch s.(type) {
	case *stats.ConnBegin:
		c.begun.Add(1)
		c.open.Add(1)
	case *stats.ConnEnd:
		c.open.Add(-1)
	}
}

// TagConn implements [stats.Handler].
func (c *connections) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }

// TagRPC implements [stats.Handler].
func (c *connections) TagRPC(ctx context.Context, _ *stats.RPCTagInfo) context.Context { return ctx }

// HandleRPC implements [stats.Handler].
func (c *connections) HandleRPC(context.Context, stats.RPCStats) {}
