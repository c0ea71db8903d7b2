package load

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// restTime is how long a connection may rest before we look whether the
// server has closed it. A server may do so at any time, and that is no error
// of a request that was not sent yet.
const restTime = 50 * time.Millisecond

type httpLane struct {
	target *HTTP
	ctx    context.Context
	asked  *http.Request // for the reader: whether an answer has a body
	unhook func() bool

	mu    sync.Mutex // conn and ended, against abort
	conn  net.Conn
	ended bool

	in      *bufio.Reader
	used    time.Time
	payload Payload
	head    []byte
	pieces  net.Buffers
	rest    net.Buffers // of pieces
	limited io.LimitedReader
	body    []byte
	times   map[string]float64
	stages  []Stage
}

// Send implements [Lane].
func (l *httpLane) Send(n int, deadline time.Time) Answer {
	if err := l.connect(deadline); err != nil {
		return Answer{Failure: l.why(err, NoDial)}
	}
	a, keep := l.exchange(n, deadline)
	l.used = time.Now()
	if !keep {
		l.hangUp()
	}
	return a
}

// exchange says also whether the connection can carry another request.
func (l *httpLane) exchange(n int, deadline time.Time) (a Answer, keep bool) {
	if err := l.conn.SetDeadline(deadline); err != nil {
		return Answer{Failure: l.why(err, Reset)}, false
	}
	written, writeErr := l.write(n)
	a.Wrote = written > 0
	if writeErr != nil && !a.Wrote {
		return Answer{Failure: l.why(writeErr, Reset)}, false
	}
	// A server may refuse before it has read all of a body, so that what we
	// wrote fails and the answer is there nonetheless.
	res, err := l.read(&a)
	if err != nil {
		if writeErr != nil {
			err = writeErr
		}
		a.Failure = l.why(err, Garbled)
		return a, false
	}
	defer res.Body.Close()
	a.Status = res.StatusCode
	if err := l.readBody(res.Body, &a); err != nil {
		a.Failure = l.why(err, Garbled)
		return a, false
	}
	if !l.target.expects(a.Status) {
		a.Failure = Failure("status_" + strconv.Itoa(a.Status))
	} else if l.target.cfg.ImageErrors && a.Status < 300 && imageError(l.body) {
		a.Failure = BadImage
	}
	if l.target.cfg.Timings {
		a.Stages = l.timings()
	}
	return a, writeErr == nil && !res.Close && l.in.Buffered() == 0
}

func (l *httpLane) write(n int) (int64, error) {
	l.payload.reset()
	l.target.cfg.Workload.Fill(n, &l.payload)
	l.head = l.target.compose(l.head[:0], &l.payload)
	l.pieces = append(append(l.pieces[:0], l.head), l.payload.Body...)
	l.rest = l.pieces // WriteTo consumes its receiver
	return l.rest.WriteTo(l.conn)
}

// compose appends everything before the body.
func (h *HTTP) compose(b []byte, p *Payload) []byte {
	b = append(b, h.line...)
	if len(p.Query) > 0 {
		mark := byte('?')
		if h.cfg.URL.RawQuery != "" {
			mark = '&'
		}
		b = append(append(b, mark), p.Query...)
	}
	b = append(b, " HTTP/1.1\r\n"...)
	b = append(b, h.fixed...)
	b = append(b, p.Header...)
	if p.ContentType != "" && h.cfg.Header.Get("Content-Type") == "" {
		b = append(append(append(b, "Content-Type: "...), p.ContentType...), "\r\n"...)
	}
	length := 0
	for _, piece := range p.Body {
		length += len(piece)
	}
	if length > 0 || h.cfg.Method != http.MethodGet && h.cfg.Method != http.MethodHead {
		b = append(strconv.AppendInt(append(b, "Content-Length: "...), int64(length), 10), "\r\n"...)
	}
	return append(b, "\r\n"...)
}

// read returns the answer's head, past any interim ones.
func (l *httpLane) read(a *Answer) (*http.Response, error) {
	if _, err := l.in.Peek(1); err != nil {
		return nil, err
	}
	a.First = time.Now()
	for range 8 {
		res, err := http.ReadResponse(l.in, l.asked)
		if err != nil || res.StatusCode >= 200 || res.StatusCode == http.StatusSwitchingProtocols {
			return res, err
		}
	}
	return nil, errors.New("nothing but interim answers")
}

func (l *httpLane) readBody(r io.Reader, a *Answer) error {
	buffer := bytes.NewBuffer(l.body[:0])
	l.limited = io.LimitedReader{R: r, N: l.target.cfg.MaxAnswer + 1}
	n, err := buffer.ReadFrom(&l.limited)
	l.body, a.Bytes = buffer.Bytes(), int(n)
	if err == nil && n > l.target.cfg.MaxAnswer {
		return errTooLarge
	}
	return err
}

var errTooLarge = errors.New("answer too large")

func (l *httpLane) connect(deadline time.Time) error {
	if l.conn != nil && time.Since(l.used) > restTime && hungUp(l.conn) {
		l.hangUp()
	}
	if l.conn != nil {
		return nil
	}
	ctx, cancel := context.WithDeadline(l.ctx, deadline)
	defer cancel()
	conn, err := l.target.cfg.Dial(ctx, "tcp", l.target.address)
	if err != nil {
		return err
	}
	if l.target.tls != nil {
		secure := tls.Client(conn, l.target.tls)
		if err := secure.HandshakeContext(ctx); err != nil {
			conn.Close()
			return err
		}
		conn = secure
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		conn.Close()
		return context.Cause(l.ctx)
	}
	l.conn, l.in, l.used = conn, bufio.NewReaderSize(conn, 16<<10), time.Now()
	return nil
}

// abort makes whatever Send waits for fail.
func (l *httpLane) abort() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	if l.conn != nil {
		l.conn.Close()
	}
}

func (l *httpLane) hangUp() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.conn != nil {
		l.conn.Close()
		l.conn = nil
	}
}

// Close implements [Lane].
func (l *httpLane) Close() {
	l.unhook()
	l.hangUp()
}

// why classifies an error; what it does not know is other.
func (l *httpLane) why(err error, other Failure) Failure {
	var timeout net.Error
	switch {
	case l.ctx.Err() != nil:
		return CutOff
	case errors.Is(err, errTooLarge):
		return TooLarge
	case errors.Is(err, syscall.ECONNREFUSED):
		return Refused
	case errors.As(err, &timeout) && timeout.Timeout():
		return TimedOut
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return Reset
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.ErrClosedPipe):
		return Hangup
	}
	return other
}

// searched is how much of an answer is searched for errors. It bounds the work
// on what a strange server sends; an image takes some hundred bytes.
const searched = 1 << 20

// imageError says whether a result, or one of its checkpoints, has an error
// that is an object. In a JSON string the quotes would be escaped.
func imageError(body []byte) bool {
	const key = `"error":`
	for rest := body[:min(len(body), searched)]; ; {
		at := bytes.Index(rest, []byte(key))
		if at < 0 {
			return false
		}
		rest = bytes.TrimLeft(rest[at+len(key):], " \t\r\n")
		if bytes.HasPrefix(rest, []byte("{")) {
			return true
		}
	}
}

// timings finds the flat object timing_ms in an answer, without reading the
// rest of it.
func (l *httpLane) timings() []Stage {
	const key = `"timing_ms":`
	at := bytes.LastIndex(l.body, []byte(key))
	if at < 0 {
		return nil
	}
	object := l.body[at+len(key):]
	end := bytes.IndexByte(object, '}')
	if end < 0 {
		return nil
	}
	if l.times == nil {
		l.times = map[string]float64{}
	}
	clear(l.times)
	if json.Unmarshal(object[:end+1], &l.times) != nil {
		return nil
	}
	l.stages = l.stages[:0]
	for name, ms := range l.times {
		l.stages = append(l.stages, Stage{name, ms})
	}
	return l.stages
}
