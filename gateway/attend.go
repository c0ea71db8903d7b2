package gateway

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strconv"
	"sync"
	"time"

	"github.com/agiqa/agiqa/quality"
)

// Attend ties server and the listener that it will serve to this gateway, and
// returns the listener to serve. net/http turns some requests away by itself,
// before any handler (a malformed line, a header that is too large, a header
// that never ends), and tells nobody. An attended listener sees their bytes
// arrive, sees that no handler was called, and gives each of them what every
// other request has: a server span, a metric and a log line. Where net/http
// answers, its answer carries the ids.
//
// Not seen are a connection that sends no byte, and the broken-off beginning
// of a request that came in one packet with the whole one before it.
func (g *Gateway) Attend(server *http.Server, l net.Listener) net.Listener {
	server.DisableGeneralOptionsHandler = true // OPTIONS * is a request like any other
	server.ConnContext = func(ctx context.Context, c net.Conn) context.Context {
		return context.WithValue(ctx, connKey{}, c)
	}
	server.ConnState = func(c net.Conn, state http.ConnState) {
		if c, ok := c.(*attendedConn); ok && state == http.StateIdle {
			c.answered()
		}
	}
	return attendedListener{Listener: l, edge: g.edge}
}

type connKey struct{}

type attendedListener struct {
	net.Listener
	edge *edge
}

// Accept implements [net.Listener].
func (l attendedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &attendedConn{Conn: c, edge: l.edge}, nil
}

// attendedConn knows of its connection whether a handler is at work, and since
// when bytes lie here that none has taken.
type attendedConn struct {
	net.Conn
	edge *edge

	mu       sync.Mutex
	handling bool      // from the call of a handler to the end of its answer
	began    time.Time // arrival of the first byte that no handler has taken; zero: there is none
	early    time.Time // the same, while a handler is still at work on the request before
	readErr  error     // why reading ended
	told     bool      // what there was to say of this connection's end is said
}

// begin is called as a handler begins. It returns when the request's first
// byte came, or zero when that is not known.
func (c *attendedConn) begin() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := c.began
	c.handling, c.began, c.early = true, time.Time{}, time.Time{}
	return began
}

// answered is called when an answer is out and the connection stays.
func (c *attendedConn) answered() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.handling, c.began, c.readErr = false, c.early, nil
}

// Read implements [io.Reader]. While a handler works, net/http waits for the
// next request with reads of a single byte.
func (c *attendedConn) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.handling && n > 0 && len(p) == 1:
		c.early = time.Now()
	case c.handling: // of the body
	case n > 0 && c.began.IsZero():
		c.began = time.Now()
	}
	if err != nil && !c.handling {
		c.readErr = err
	}
	return n, err
}

// Write implements [io.Writer]. What begins as an answer while no handler is
// at work is net/http's own: it is reported, and sent with the ids.
func (c *attendedConn) Write(p []byte) (int, error) {
	status, head := c.ownAnswer(p)
	if status == 0 {
		return c.Conn.Write(p)
	}
	kind := quality.KindBadRequest
	if status == http.StatusRequestHeaderFieldsTooLarge {
		kind = quality.KindHeaderFieldsTooLarge
	}
	id := c.edge.unparsed(c.first(), status, len(p), quality.Errorf(kind, "net/http answered by itself: %s", head))
	out := append([]byte(nil), head...)
	out = append(out, "\r\nX-Request-ID: "+id.Request+"\r\nX-Trace-ID: "+id.Trace...)
	out = append(out, p[len(head):]...)
	if _, err := c.Conn.Write(out); err != nil {
		return 0, err
	}
	return len(p), nil
}

// ownAnswer returns the status and the status line of an answer that no
// handler gave, once, or 0.
func (c *attendedConn) ownAnswer(p []byte) (status int, head []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.handling || c.told || !bytes.HasPrefix(p, []byte("HTTP/1.")) || len(p) < len("HTTP/1.1 400") {
		return 0, nil
	}
	status, err := strconv.Atoi(string(p[9:12]))
	head, _, found := bytes.Cut(p, []byte("\r\n"))
	if err != nil || !found {
		return 0, nil
	}
	c.told = true
	return status, head
}

func (c *attendedConn) first() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.began.IsZero() { // it came in one packet with the request before
		return time.Now()
	}
	return c.began
}

// Close implements [io.Closer]. Bytes that were neither handled nor answered
// are a request that was broken off in its header.
func (c *attendedConn) Close() error {
	c.mu.Lock()
	broken, began, why := !c.handling && !c.told && !c.began.IsZero(), c.began, c.readErr
	c.told = true
	c.mu.Unlock()
	if broken {
		err := quality.Errorf(quality.KindClientClosedRequest, "the client went away while it sent the header").Because(why)
		switch {
		case why == nil:
			err = quality.Errorf(quality.KindDraining, "the server shut down while the header was being read")
		case errors.Is(why, os.ErrDeadlineExceeded):
			err = quality.Errorf(quality.KindRequestTimeout, "the header did not come in time")
		}
		c.edge.unparsed(began, StatusOf(quality.KindOf(err)), 0, err)
	}
	return c.Conn.Close()
}

// CloseWrite lets net/http end an answer before it closes, so that a client
// that is still sending can read it.
func (c *attendedConn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}
