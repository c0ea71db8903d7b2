package cache

import (
	"context"
	"errors"
	"net"
	"syscall"
)

// errReply says that a server sent what no reply to this client's commands can
// be.
var errReply = errors.New("redis: reply out of bounds")

const (
	maxReplyLine     = 64 << 10 // of errors, which quote arguments, and of numbers
	maxReplyElements = 1024     // of nested arrays, as in the reply to HELLO
)

// boundedDialer returns dial with connections that check the lengths that a
// server declares before the driver sees them. The driver allocates by them, and
// so a single line of a compromised server, or of whoever is in between, would
// end this process.
func boundedDialer(
	dial func(ctx context.Context, network, addr string) (net.Conn, error), maxBytes int,
) func(ctx context.Context, network, addr string) (net.Conn, error) {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dial(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		bounded := &boundedConn{Conn: conn, replies: replies{maxBytes: int64(maxBytes)}}
		if raw, ok := conn.(syscall.Conn); ok {
			return &boundedSocket{bounded, raw}, nil
		}
		return bounded, nil
	}
}

// boundedConn fails a read as soon as what was read goes out of bounds.
type boundedConn struct {
	net.Conn
	replies replies
	err     error
}

// Read implements [net.Conn].
func (c *boundedConn) Read(b []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.Conn.Read(b)
	if c.err = c.replies.check(b[:n]); c.err != nil {
		return 0, c.err
	}
	return n, err
}

// boundedSocket lets the driver see whether an idle connection is still open.
type boundedSocket struct {
	*boundedConn
	syscall.Conn
}

// replies follows a stream of Redis's protocol from one chunk to the next.
type replies struct {
	maxBytes int64 // of a string

	kind     byte  // of the line that is being read; 0: its first byte is next
	line     int   // its bytes so far
	digits   int   // of a length
	length   int64 // declared so far; -1: a missing value
	skip     int64 // bytes of a string, with its line end, that are still to come
	pending  int   // elements of this reply that are still to come
	elements int   // of this reply so far
}

func (r *replies) check(b []byte) error {
	for len(b) > 0 {
		if r.skip > 0 {
			n := min(r.skip, int64(len(b)))
			r.skip -= n
			b = b[n:]
			continue
		}
		if err := r.next(b[0]); err != nil {
			return err
		}
		b = b[1:]
	}
	return nil
}

// next takes one byte of a line.
func (r *replies) next(c byte) error {
	if r.line++; r.line > maxReplyLine {
		return errReply
	}
	switch {
	case r.kind == 0:
		r.kind = c
		return nil
	case c == '\n':
		return r.endLine()
	case !r.counts() || c == '\r':
		return nil
	case c == '-' && r.line == 2:
		r.length = -1
		return nil
	case c < '0' || c > '9':
		return errReply
	}
	r.digits++
	if r.length == -1 { // -1 is the only one below zero
		if c != '1' || r.digits > 1 {
			return errReply
		}
		return nil
	}
	if r.length = 10*r.length + int64(c-'0'); r.length > r.most() {
		return errReply
	}
	return nil
}

// isString reports whether bytes follow the line, as many as it says.
func (r *replies) isString() bool { return r.kind == '$' || r.kind == '=' || r.kind == '!' }

// counts reports whether the line declares a length.
func (r *replies) counts() bool {
	switch r.kind {
	case '*', '%', '~', '>', '|':
		return true
	}
	return r.isString()
}

func (r *replies) most() int64 {
	if r.isString() {
		return r.maxBytes
	}
	return maxReplyElements
}

// members returns how many elements follow the line of an array.
func (r *replies) members() int {
	switch r.kind {
	case '%':
		return 2 * int(r.length)
	case '|': // the reply that it's an attribute of follows
		return 2*int(r.length) + 1
	}
	return int(r.length)
}

func (r *replies) endLine() error {
	r.pending = max(r.pending, 1) // the reply itself
	switch {
	case !r.counts():
	case r.digits == 0:
		return errReply
	case r.isString():
		if r.length >= 0 {
			r.skip = r.length + int64(len("\r\n"))
		}
	case r.length > 0:
		r.pending += r.members()
	}
	r.kind, r.line, r.digits, r.length = 0, 0, 0, 0
	if r.elements++; r.elements > maxReplyElements {
		return errReply
	}
	if r.pending--; r.pending == 0 {
		r.elements = 0
	}
	return nil
}
