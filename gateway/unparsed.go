package gateway

import (
	"context"
	"net"
	"net/http"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/metric"
)

// Watch makes server count what never becomes a request of a handler:
// net/http answers a malformed or oversized header with a few words of plain
// text, and closes the connection of a header that does not end in time. Each
// of them counts in agiqa.connections.unparsed, when its connection ends.
//
// Not counted are a connection that sends no byte and, on a connection that has
// had a request, a malformed header that comes in one packet: net/http reports
// neither. Call Watch before the server serves.
//
// It also gives [Gateway.Interrupt] its hold on the server's requests.
func (g *Gateway) Watch(server *http.Server) {
	server.DisableGeneralOptionsHandler = true // OPTIONS * is a request like any other
	w := &connectionWatch{unparsed: g.edge.unparsed}
	server.ConnContext, server.ConnState = w.begin, w.change
	server.BaseContext = func(net.Listener) context.Context { return g.work }
	boundUnparsed(server)
}

// connectionWatch knows of each open connection whether bytes came that no
// handler has taken.
type connectionWatch struct {
	unparsed metric.Int64Counter
	open     sync.Map // net.Conn -> *atomic.Bool
}

// boundUnparsed gives the bodies of requests that net/http answers by itself (a
// strange Expect: 417) a deadline: it waits for them. Those of handlers have
// their own, see arriving, and where there is no body net/http ends it.
func boundUnparsed(server *http.Server) { server.ReadTimeout = server.ReadHeaderTimeout }

type pendingKey struct{}

// begin is the server's ConnContext.
func (w *connectionWatch) begin(ctx context.Context, c net.Conn) context.Context {
	pending := new(atomic.Bool)
	w.open.Store(c, pending)
	return context.WithValue(ctx, pendingKey{}, pending)
}

// change is the server's ConnState. A connection becomes active once the header
// of a request was read, well or badly, and before a handler gets it.
func (w *connectionWatch) change(c net.Conn, state http.ConnState) {
	switch state {
	case http.StateActive:
		if pending, ok := w.open.Load(c); ok {
			pending.(*atomic.Bool).Store(true)
		}
	case http.StateClosed, http.StateHijacked:
		if pending, ok := w.open.LoadAndDelete(c); ok && pending.(*atomic.Bool).Load() {
			w.unparsed.Add(context.Background(), 1)
		}
	}
}

// handled notes that a handler has the connection's request.
func handled(ctx context.Context) {
	if pending, ok := ctx.Value(pendingKey{}).(*atomic.Bool); ok {
		pending.Store(false)
	}
}
