package gateway

import (
	"errors"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// bodyWindow is how long a body may take for each bodyWindow*MinBodyRate
	// bytes of it.
	bodyWindow = 4 * time.Second
	// bodyOvertime is how much later than the request's own time a body has to be
	// there: a late answer has to be known as deadline_exceeded, not as a client
	// that left.
	bodyOvertime = time.Second
	// bodyAtHand is how long an answer waits for the rest of a body that nobody
	// reads, so that a client that has sent it can use its connection again.
	bodyAtHand = 25 * time.Millisecond
	// maxUnread is the most of such a rest that is read.
	maxUnread = 256 << 10
	// linger is how long a connection with an unread body stays open after the
	// answer. Closing it at once would reset it, and the client might lose the
	// answer.
	linger = 250 * time.Millisecond
)

// arriving is the body of a request as it comes over the connection. net/http
// sets no deadline for bodies, and before it writes an answer it waits for the
// rest of a body that nobody read. arriving sees to it that no answer waits for
// a body that isn't needed, and no reader for one that doesn't come.
type arriving struct {
	io.ReadCloser // net/http's
	conn          *http.ResponseController
	request       *http.Request
	answer        http.Header
	leaving       *atomic.Bool
	rate          int64     // bytes a second; 0: any
	end           time.Time // when all of it has to be there; zero: no such time

	got     int64
	missing int64         // bytes of the window that have not come
	waited  time.Duration // for them
	ended   bool
	err     error
	settled bool

	mu  sync.Mutex // held while the connection's deadline is set
	cut bool       // nobody waits for the body any longer
}

func newArriving(w http.ResponseWriter, r *http.Request, leaving *atomic.Bool) *arriving {
	a := &arriving{ReadCloser: r.Body, conn: http.NewResponseController(w), request: r, answer: w.Header(),
		leaving: leaving}
	if a.ended = r.Body == nil || r.Body == http.NoBody; a.ended {
		a.ReadCloser = http.NoBody
	}
	return a
}

// Read implements [io.Reader].
func (a *arriving) Read(p []byte) (int, error) {
	switch {
	case a.err != nil:
		return 0, a.err
	case a.ended:
		return 0, io.EOF
	}
	if a.missing <= 0 && a.rate > 0 {
		a.missing, a.waited = int64(bodyWindow.Seconds()*float64(a.rate)), 0
	}
	start, deadline := time.Now(), a.end
	if a.rate > 0 {
		// Only the time in here counts: a body that waits for this program isn't late.
		if window := start.Add(bodyWindow - a.waited); deadline.IsZero() || window.Before(deadline) {
			deadline = window
		}
	}
	a.allow(deadline)
	n, err := a.ReadCloser.Read(p)
	a.got, a.missing, a.waited = a.got+int64(n), a.missing-int64(n), a.waited+time.Since(start)
	switch {
	case errors.Is(err, io.EOF):
		// A deadline that passed later would look as if the client had left.
		a.ended = true
		_ = a.conn.SetReadDeadline(time.Time{})
	case err != nil:
		a.err = err
	}
	return n, err
}

// allow lets reads wait until then.
func (a *arriving) allow(deadline time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cut {
		deadline = time.Now()
	}
	_ = a.conn.SetReadDeadline(deadline) // tests have writers that know none
}

// interrupt ends a read that is under way, and those that follow. Another goroutine
// than the handler's may call it.
func (a *arriving) interrupt() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cut = true
	_ = a.conn.SetReadDeadline(time.Now())
}

// Close leaves the rest to settle and to net/http.
func (a *arriving) Close() error { return nil }

// settle is called before the header of the answer is written, and again at the
// end of the request. If the body hasn't been read to its end by then, it
// closes the connection soon after the answer, unless the rest is at hand.
func (a *arriving) settle() {
	if a.leaving.Load() {
		a.answer.Set("Connection", "close")
	}
	if a.ended || a.settled || a.request.ProtoMajor > 1 { // HTTP/2 cancels the stream alone
		return
	}
	a.settled = true
	if a.drain() {
		return
	}
	a.answer.Set("Connection", "close")
	_ = a.conn.SetReadDeadline(time.Now().Add(linger))
}

// drain reads a small rest that is at hand, and reports whether that was all.
func (a *arriving) drain() bool {
	switch {
	case a.err != nil, a.answer.Get("Connection") == "close",
		a.request.Header.Get("Expect") != "", // the client waits to be asked for its body
		a.request.ContentLength-a.got > maxUnread,
		a.conn.SetReadDeadline(time.Now().Add(bodyAtHand)) != nil:
		return false
	}
	for buffer := make([]byte, 8<<10); a.got <= maxUnread; {
		n, err := a.ReadCloser.Read(buffer)
		a.got += int64(n)
		if errors.Is(err, io.EOF) {
			a.ended = true
			_ = a.conn.SetReadDeadline(time.Time{})
			return true
		}
		if err != nil {
			a.err = err
			return false
		}
	}
	return false
}
