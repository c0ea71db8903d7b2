// Package connlimit bounds the connections of a listener and shares them
// between clients.
//
// Connections beyond the limit wait. Room for them is made by closing a
// connection that does nothing: one that is idle between two requests, or that
// hasn't sent a request for a while. If there is none, a client that holds at
// least two connections more than the one that waits loses the connection whose
// request has been under way for longest. The largest holder always loses first.
package connlimit

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// Grace is how long a connection without a request, or with one under way, is
// left alone.
const Grace = time.Second

// Reasons why a connection is closed.
const (
	Idle    = "idle"    // between two requests
	Silent  = "silent"  // no request so far
	Largest = "largest" // a request under way, of the client that holds most
	Queue   = "queue"   // waiting, and too many wait
)

// Config is what a [Listener] needs to know.
type Config struct {
	// Max is how many connections are served at once. As many again may wait.
	Max int
	// Client names whom a connection from an address counts for.
	Client func(net.Addr) string
	// Closed, which may be nil, is told why a connection was closed.
	Closed func(reason string)
}

// Listener is a [net.Listener] whose connections are limited. A [http.Server]
// has to report their states to [Listener.Changed].
type Listener struct {
	inner net.Listener
	cfg   Config
	done  chan struct{}
	loop  sync.WaitGroup

	mu      sync.Mutex
	some    sync.Cond // ready or closed has changed
	serving map[*conn]struct{}
	waiting []*conn // oldest first
	ready   []accepted
	held    map[string]int // connections served, by client
	retry   *time.Timer
	closed  bool
}

type accepted struct {
	conn *conn
	err  error
}

// New limits the connections of a listener. It takes the listener over.
func New(inner net.Listener, cfg Config) (*Listener, error) {
	if cfg.Max < 1 || cfg.Client == nil {
		return nil, fmt.Errorf("connlimit: Max must be at least 1, is %d, and Client must be set", cfg.Max)
	}
	l := &Listener{inner: inner, cfg: cfg, done: make(chan struct{}),
		serving: map[*conn]struct{}{}, held: map[string]int{}}
	l.some.L = &l.mu
	l.loop.Go(l.accept)
	return l, nil
}

// Accept implements [net.Listener].
func (l *Listener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.ready) == 0 && !l.closed {
		l.some.Wait()
	}
	if l.closed {
		return nil, net.ErrClosed
	}
	next := l.ready[0]
	l.ready = l.ready[1:]
	if next.err != nil {
		return nil, next.err
	}
	return next.conn, nil
}

// Addr implements [net.Listener].
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close implements [net.Listener]. Connections that were not accepted yet are
// closed; the others go on.
func (l *Listener) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return net.ErrClosed
	}
	l.closed = true
	if l.retry != nil {
		l.retry.Stop()
	}
	rest := l.waiting
	for _, a := range l.ready {
		if a.conn != nil {
			rest = append(rest, a.conn)
		}
	}
	l.waiting, l.ready = nil, nil
	l.some.Broadcast()
	l.mu.Unlock()
	close(l.done)
	err := l.inner.Close()
	l.loop.Wait()
	for _, c := range rest {
		_ = c.Close()
	}
	return err
}

// Open returns how many connections are served and how many wait.
func (l *Listener) Open() (serving, waiting int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.serving), len(l.waiting)
}

// Changed notes the state of a connection. It is for [http.Server.ConnState].
func (l *Listener) Changed(nc net.Conn, state http.ConnState) {
	for { // of TLS, the connection below it
		outer, ok := nc.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		nc = outer.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	l.mu.Lock()
	c.state, c.since = state, time.Now()
	closing := l.dispatch()
	l.mu.Unlock()
	l.finish(closing)
}

// accept takes connections from the kernel until the listener is closed.
func (l *Listener) accept() {
	pause := time.Duration(0)
	for {
		nc, err := l.inner.Accept()
		if err != nil {
			l.mu.Lock()
			l.ready = append(l.ready, accepted{err: err})
			l.some.Signal()
			l.mu.Unlock()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			pause = min(max(2*pause, 5*time.Millisecond), time.Second) // as net/http does
			select {
			case <-time.After(pause):
				continue
			case <-l.done:
				return
			}
		}
		pause = 0
		l.enqueue(&conn{Conn: nc, listener: l, client: l.cfg.Client(nc.RemoteAddr())})
	}
}

func (l *Listener) enqueue(c *conn) {
	l.mu.Lock()
	var closing []victim
	if l.closed {
		closing = []victim{{c, ""}}
	} else {
		l.waiting = append(l.waiting, c)
		closing = l.dispatch()
		if len(l.waiting) > l.cfg.Max {
			closing = append(closing, victim{l.dropWaiting(), Queue})
		}
	}
	l.mu.Unlock()
	l.finish(closing)
}

// dropWaiting takes out the latest connection of the client of which most wait.
func (l *Listener) dropWaiting() *conn {
	count, most := map[string]int{}, 0
	for _, c := range l.waiting {
		count[c.client]++
		most = max(most, count[c.client])
	}
	for i, c := range slices.Backward(l.waiting) {
		if count[c.client] == most {
			l.waiting = slices.Delete(l.waiting, i, i+1)
			return c
		}
	}
	return nil
}

type victim struct {
	conn   *conn
	reason string
}

// finish closes connections outside the lock, which closing takes.
func (l *Listener) finish(closing []victim) {
	for _, v := range closing {
		_ = v.conn.Close()
		if l.cfg.Closed != nil && v.reason != "" {
			l.cfg.Closed(v.reason)
		}
	}
}

// dispatch serves connections that wait for as long as there is room, or room
// can be made. It returns what has to be closed for that.
func (l *Listener) dispatch() (closing []victim) {
	for len(l.waiting) > 0 && !l.closed {
		next := l.waiting[0]
		for _, c := range l.waiting { // the first of the client that holds least
			if l.held[c.client] < l.held[next.client] {
				next = c
			}
		}
		if len(l.serving) >= l.cfg.Max {
			v, again := l.victim(next.client)
			if v.conn == nil {
				l.retryIn(again)
				return closing
			}
			l.forget(v.conn)
			closing = append(closing, v)
		}
		l.waiting = slices.DeleteFunc(l.waiting, func(c *conn) bool { return c == next })
		next.state, next.since = http.StateNew, time.Now()
		l.serving[next] = struct{}{}
		l.held[next.client]++
		l.ready = append(l.ready, accepted{conn: next})
		l.some.Signal()
	}
	return closing
}

// victim chooses the connection that makes room for one of a client. If there
// is none yet, it says how long until there may be one; 0: unknown.
func (l *Listener) victim(client string) (v victim, again time.Duration) {
	now, best := time.Now(), [3]int{}
	for c := range l.serving {
		reason, rank := "", 0
		switch held := l.held[c.client]; {
		case c.state == http.StateIdle:
			reason, rank = Idle, 3
		case c.state == http.StateNew:
			reason, rank = Silent, 2
		case held >= l.held[client]+2:
			reason, rank = Largest, 1
		default:
			continue
		}
		age := now.Sub(c.since)
		if rank < 3 && age < Grace {
			if wait := Grace - age; again == 0 || wait < again {
				again = wait
			}
			continue
		}
		if score := [3]int{rank, l.held[c.client], int(age)}; v.conn == nil || slices.Compare(score[:], best[:]) > 0 {
			v, best = victim{c, reason}, score
		}
	}
	return v, again
}

// retryIn looks again after a while.
func (l *Listener) retryIn(d time.Duration) {
	if d == 0 {
		return
	}
	if l.retry != nil {
		l.retry.Stop()
	}
	l.retry = time.AfterFunc(d, func() {
		l.mu.Lock()
		closing := l.dispatch()
		l.mu.Unlock()
		l.finish(closing)
	})
}

// forget takes a connection out of the books.
func (l *Listener) forget(c *conn) {
	if _, ok := l.serving[c]; ok {
		delete(l.serving, c)
		if l.held[c.client]--; l.held[c.client] == 0 {
			delete(l.held, c.client)
		}
	}
}

// conn is a connection with a place in the books.
type conn struct {
	net.Conn
	listener *Listener
	client   string
	state    http.ConnState
	since    time.Time // of the state
}

// Close implements [net.Conn].
func (c *conn) Close() error {
	err := c.Conn.Close()
	l := c.listener
	l.mu.Lock()
	l.forget(c)
	closing := l.dispatch()
	l.mu.Unlock()
	l.finish(closing)
	return err
}

// CloseWrite lets net/http end an answer without a reset that could destroy it.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
