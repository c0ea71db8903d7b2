package gateway_test

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// rawly sends bytes over a connection of its own and reads the answers until
// the server closes. With cut it closes the sending side after them, which to
// the server is a client that left.
func rawly(t *testing.T, s *httptest.Server, message string, cut bool) []reply {
	t.Helper()
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	var sending sync.WaitGroup
	sending.Go(func() {
		_, _ = io.WriteString(conn, message) // the server may close before all is read
		if cut {
			_ = conn.(*net.TCPConn).CloseWrite()
		}
	})
	defer sending.Wait()
	var replies []reply
	for r := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			return replies
		}
		replies = append(replies, readReply(t, resp))
	}
}

// TestMessagesThatLie: lengths and encodings that do not hold. Where net/http
// answers by itself, before any handler, there is no problem document.
func TestMessagesThatLie(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	file := string(testimages.PNG(16, 16))
	post := func(headers, body string) string {
		return "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n" + headers + "\r\n\r\n" + body
	}
	length := fmt.Sprint("Content-Length: ", len(file))
	chunks := func() string {
		var b strings.Builder
		for i := range len(file) {
			fmt.Fprintf(&b, "1\r\n%s\r\n", file[i:i+1])
		}
		return b.String() + "0\r\n\r\n"
	}()
	for _, test := range []struct {
		name, message string
		status        int          // of the first answer
		kind          quality.Kind // empty: net/http's own answer, or a success
		cut           bool
	}{
		{"right", post(length+"\r\nConnection: close", file), 200, "", false},
		{"longer than announced", post("Content-Length: 10\r\nConnection: close", file), 422,
			quality.KindImageTruncated, false},
		{"shorter than announced", post("Content-Length: 5000", file[:100]), 400, quality.KindBadRequest, true},
		{"nothing of what was announced", post("Content-Length: 5000", ""), 400, quality.KindBadRequest, true},
		{"no length", post("Connection: close", ""), 415, quality.KindUnsupportedImageFormat, false},
		{"negative", post("Content-Length: -1", file), 400, "", false},
		{"not a number", post("Content-Length: 1e3", file), 400, "", false},
		{"two lengths", post(length+"\r\nContent-Length: 3", file), 400, "", false},
		{"same length twice", post(length+"\r\n"+length+"\r\nConnection: close", file), 200, "", false},
		{"length and chunks", post("Content-Length: 3\r\nTransfer-Encoding: chunked\r\nConnection: close", chunks), 200, "",
			false},
		{"unknown transfer encoding", post("Transfer-Encoding: rot13", file), 501, "", false},
		{"chunks of one byte", post("Transfer-Encoding: chunked\r\nConnection: close", chunks), 200, "", false},
		{"bad chunk size", post("Transfer-Encoding: chunked", "zz\r\n"+file), 400, quality.KindBadRequest, false},
		{"chunk without end", post("Transfer-Encoding: chunked", "5\r\nabc"), 400, quality.KindBadRequest, true},
		{"huge chunk extension", post("Transfer-Encoding: chunked", "1;"+strings.Repeat("a", 100_000)+"\r\nx\r\n0\r\n\r\n"),
			400, quality.KindBadRequest, false},
		{"announced as 1 TB", post("Content-Length: 1099511627776", file), 413, quality.KindPayloadTooLarge, false},
		{"chunks beyond the limit",
			post("Transfer-Encoding: chunked", "200000\r\n"+strings.Repeat("a", 0x200000)+"\r\n0\r\n\r\n"), 413,
			quality.KindPayloadTooLarge, false},
		{"header of 2 MB", post("X-Request-ID: "+strings.Repeat("a", 2<<20), ""), 431, "", false},
		{"line break in a header", post("X-Request-ID: a\nX-Evil: 1\r\n"+length+"\r\nConnection: close", file), 200, "",
			false},
		{"zero byte in a header", post("X-Request-ID: a\x00b\r\n"+length, file), 400, "", false},
		{"no host", "POST /v1/score HTTP/1.1\r\n" + length + "\r\n\r\n" + file, 400, "", false},
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			replies := rawly(t, s, test.message, test.cut)
			if len(replies) == 0 {
				t.Fatal("no answer")
			}
			if len(replies) > 1 {
				t.Errorf("%d answers to one request", len(replies))
			}
			got := replies[0]
			if got.status != test.status {
				t.Fatalf("status %d, want %d: %.300s", got.status, test.status, got.body)
			}
			if test.kind != "" {
				got.wantProblem(t, test.kind)
			}
			if got.header.Get("X-Evil") != "" {
				t.Error("a header was made from another")
			}
		})
	}
}

// TestBodyIsNotAskedFor: a client that waits for leave to send a body that is
// too large never sends it.
func TestBodyIsNotAskedFor(t *testing.T) {
	r := newRig(t)
	s := r.serve()
	replies := rawly(t, s, "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: "+
		"2000000\r\nExpect: 100-continue\r\n\r\n", false)
	if len(replies) != 1 {
		t.Fatalf("%d answers, want 1", len(replies))
	}
	replies[0].wantProblem(t, quality.KindPayloadTooLarge)
}

// pipes is a listener whose connections are in memory, so that deadlines run
// on the test's clock.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{make(chan net.Conn), make(chan struct{})} }

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error   { close(p.done); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipe"} }

func (p *pipes) dial() net.Conn {
	near, far := net.Pipe()
	p.conns <- far
	return near
}

// TestSlowBody: a body that does not come is 408 after the budget, on a clock
// that nobody waits for.
func TestSlowBody(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.RequestTimeout = 10 * time.Second })
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		server := &http.Server{Handler: r.checked}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(listener) })
		conn := listener.dial()
		start := time.Now()
		var sending sync.WaitGroup
		sending.Go(func() { // a byte a second, far too slow
			_, err := io.WriteString(conn, "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: "+
				"5000\r\n\r\n")
			for ; err == nil; _, err = conn.Write([]byte{0x89}) {
				time.Sleep(time.Second)
			}
		})
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		answer := readReply(t, resp)
		answer.wantProblem(t, quality.KindRequestTimeout)
		if took := time.Since(start); took != 11*time.Second {
			t.Errorf("answered after %v, want the budget and a second", took)
		}
		if !resp.Close {
			t.Error("the connection stays open with the rest of a body in it")
		}
		must(t, conn.Close())
		sending.Wait()
		must(t, server.Close())
		serving.Wait()
	})
	if got := r.values("agiqa.problems"); got["reason=request_timeout"] != 1 {
		t.Errorf("agiqa.problems is %v", got)
	}
	if got := r.values("agiqa.request.duration"); got["method=POST,route=/v1/score,status=408"] != 1 {
		t.Errorf("agiqa.request.duration is %v, want the status that was sent", got)
	}
}

// TestClientLeaves: nobody reads the answer; metric and log say 499.
func TestClientLeaves(t *testing.T) {
	r := newRig(t)
	c := tritontest.Checkpoint(first)
	release := r.triton.Hold(c.EnsembleModel())
	defer release()
	s := httptest.NewServer(r.checked)
	ctx, leave := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+"/v1/score", bytes.NewReader(testimages.PNG(8, 8)))
		if err == nil {
			req.Header.Set("Content-Type", "image/png")
			_, err = s.Client().Do(req)
		}
		gone <- err
	}()
	r.triton.WaitCalls(c.EnsembleModel(), 1)
	leave()
	if err := <-gone; !errors.Is(err, context.Canceled) {
		t.Fatalf("the client got %v", err)
	}
	s.Close() // waits for the handler, while Triton still works
	want499(t, r)
	if got := r.serverSpans()[0].Status().Code; got != 0 {
		t.Errorf("span status %v, want unset", got)
	}
}

func want499(t *testing.T, r *rig) {
	t.Helper()
	if got := r.values("agiqa.request.duration"); got["method=POST,route=/v1/score,status=499"] != 1 {
		t.Errorf("agiqa.request.duration is %v, want one 499", got)
	}
	if got := r.values("agiqa.problems"); got["reason=client_closed_request"] != 1 || len(got) != 1 {
		t.Errorf("agiqa.problems is %v, want one client_closed_request", got)
	}
	lines := r.logs.lines(t) // and no panic in it
	if len(lines) != 1 || lines[0]["msg"] != "request" || lines[0]["status"] != 499.0 || lines[0]["level"] != "INFO" {
		t.Errorf("log %v, want one line with 499", lines)
	}
}

// TestClientResetsInItsBody: the connection breaks while the body comes.
func TestClientResetsInItsBody(t *testing.T) {
	r := newRig(t)
	s := httptest.NewServer(r.checked)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	must(t, err)
	_, err = io.WriteString(conn, "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: "+
		"5000\r\nExpect: 100-continue\r\n\r\n")
	must(t, err)
	if _, err := conn.Read(make([]byte, 100)); err != nil { // 100 Continue: the handler reads
		t.Fatal(err)
	}
	must(t, conn.(*net.TCPConn).SetLinger(0))
	must(t, conn.Close())
	s.Close()
	if got := r.values("agiqa.problems"); got["reason=client_closed_request"] != 1 || len(got) != 1 {
		t.Errorf("agiqa.problems is %v, want one client_closed_request", got)
	}
}

// TestClientLeavesDuringTheAnswer: huma panics when it cannot write; that is
// no bug of ours.
func TestClientLeavesDuringTheAnswer(t *testing.T) {
	reached, left := make(chan struct{}), make(chan struct{})
	r := newRig(t, func(p *plan) {
		p.wrap = func(s gateway.Scorer) gateway.Scorer { return large{s, reached, left} }
	})
	s := httptest.NewServer(r.checked)
	conn, err := net.Dial("tcp", s.Listener.Addr().String())
	must(t, err)
	body := testimages.PNG(8, 8)
	_, err = fmt.Fprintf(conn, "POST /v1/score?include=embedding HTTP/1.1\r\nHost: a\r\nContent-Type: "+
		"image/png\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	must(t, err)
	<-reached
	must(t, conn.(*net.TCPConn).SetLinger(0))
	must(t, conn.Close())
	close(left)
	s.Close()
	want499(t, r)
}

// large answers with more than a connection takes up, after the client left.
type large struct {
	gateway.Scorer
	reached, left chan struct{}
}

func (l large) Score(ctx context.Context, req scoring.Request) (scoring.Response, error) {
	resp, err := l.Scorer.Score(ctx, req)
	if err != nil {
		return resp, err
	}
	one := resp.Results[0]
	one.Embeddings = map[quality.View]quality.Embedding{{}: make(quality.Embedding, 4<<20)}
	resp.Results = []scoring.ImageResult{one}
	close(l.reached)
	<-l.left
	return resp, nil
}

// TestSlowReader: the answer is not taken before the connection's own limit,
// long after the budget. That is the client's doing as well.
func TestSlowReader(t *testing.T) {
	r := newRig(t, func(p *plan) {
		p.gateway.RequestTimeout = 10 * time.Second
		p.wrap = func(s gateway.Scorer) gateway.Scorer { return ready{s} }
	})
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		server := &http.Server{Handler: r.checked, WriteTimeout: 20 * time.Second}
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(listener) })
		conn := listener.dial()
		_, err := io.WriteString(conn, "POST /v1/score?include=embedding HTTP/1.1\r\nHost: a\r\nContent-Type: "+
			"image/png\r\nContent-Length: 1\r\n\r\nx")
		must(t, err)
		time.Sleep(21 * time.Second)
		synctest.Wait()
		if got := r.values("agiqa.requests.active")[""]; got != 0 {
			t.Errorf("%d requests still active after the connection's limit", got)
		}
		must(t, conn.Close())
		must(t, server.Close())
		serving.Wait()
	})
	want499(t, r)
}

// ready is a use case that has its answer, a large one, at once.
type ready struct{ gateway.Scorer }

func (ready) Score(context.Context, scoring.Request) (scoring.Response, error) {
	return scoring.Response{Timings: &scoring.Timings{}, Results: []scoring.ImageResult{{
		Scores:     make([]scoring.CheckpointScore, 1),
		Embeddings: map[quality.View]quality.Embedding{{}: make(quality.Embedding, 1<<20)},
	}}}, nil
}

// TestLeaving: who has not noticed yet that /readyz is red is answered.
func TestLeaving(t *testing.T) {
	r := newRig(t)
	if before := r.post("/v1/score", testimages.PNG(8, 8), "image/png"); before.status != 200 ||
		before.header.Get("Connection") != "" {
		t.Errorf("before: %d, Connection %q", before.status, before.header.Get("Connection"))
	}
	r.gateway.Leave()
	if ready := r.ask(http.MethodGet, "/readyz", nil); ready.status != 503 ||
		!bytes.Contains(ready.body, []byte(`"draining"`)) {
		t.Errorf("/readyz %d %s, want 503 and draining", ready.status, ready.body)
	}
	if answer := r.post("/v1/score", testimages.PNG(9, 9), "image/png"); answer.status != 200 ||
		answer.header.Get("Connection") != "close" {
		t.Errorf("leaving: %d %s, Connection %q", answer.status, answer.body, answer.header.Get("Connection"))
	}
}

func TestDraining(t *testing.T) {
	r := newRig(t)
	c := tritontest.Checkpoint(first)
	release := r.triton.Hold(c.EnsembleModel())
	defer release()
	accepted := make(chan reply)
	go func() { accepted <- r.post("/v1/score", testimages.PNG(8, 8), "image/png") }()
	r.triton.WaitCalls(c.EnsembleModel(), 1)

	r.gateway.Drain()
	answer := r.post("/v1/score", testimages.PNG(9, 9), "image/png")
	answer.wantProblem(t, quality.KindDraining)
	if answer.header.Get("Connection") != "close" {
		t.Errorf("Connection %q, want close", answer.header.Get("Connection"))
	}
	if ready := r.ask(http.MethodGet, "/readyz", nil); ready.status != 503 ||
		!bytes.Contains(ready.body, []byte(`"draining"`)) {
		t.Errorf("/readyz %d %s, want 503 and draining", ready.status, ready.body)
	}
	if health := r.ask(http.MethodGet, "/healthz", nil); health.status != 200 {
		t.Errorf("/healthz %d while draining, want 200", health.status)
	}
	release()
	(<-accepted).scores(t) // what was accepted is answered
}

func TestOverload(t *testing.T) {
	r := newRig(t, func(p *plan) { p.scoring = scoring.Config{Concurrency: 1, Queue: 1, RetryAfter: 2 * time.Second} })
	c := tritontest.Checkpoint(first)
	release := r.triton.Hold(c.EnsembleModel())
	defer release()
	answers := make(chan reply, 3)
	ask := func(i int) { answers <- r.post("/v1/score", testimages.PNG(8+i, 8), "image/png") }
	go ask(0)
	r.triton.WaitCalls(c.EnsembleModel(), 1)
	go ask(1)
	go ask(2) // of these two, one waits and one is turned away
	turnedAway := <-answers
	p := turnedAway.wantProblem(t, quality.KindOverloaded)
	if p.RetryAfterMS != 2000 || turnedAway.header.Get("Retry-After") != "2" {
		t.Errorf("retry_after_ms %d, Retry-After %q, want 2000 and 2", p.RetryAfterMS, turnedAway.header.Get("Retry-After"))
	}
	release()
	(<-answers).scores(t)
	(<-answers).scores(t)
}

func TestDeadline(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.RequestTimeout = 100 * time.Millisecond })
	release := r.triton.Hold(tritontest.AllModels)
	defer release()
	r.post("/v1/score", testimages.PNG(8, 8), "image/png").wantProblem(t, quality.KindDeadlineExceeded)
	want := "method=POST,route=/v1/score,status=504"
	if got := r.values("agiqa.request.duration"); got[want] != 1 {
		t.Errorf("agiqa.request.duration is %v, want one %s", got, want)
	}
}

// TestTritonDies: while it is away requests fail fast, and they succeed again
// as soon as it is back, without a restart of anything.
func TestTritonDies(t *testing.T) {
	r := newRig(t)
	n := 0
	score := func() reply { // a new image each time, so that Triton is needed
		n++
		return r.post("/v1/score", testimages.PNG(8+n%1000, 8+n/1000), "image/png")
	}
	score().scores(t)
	r.triton.Stop()
	answer := score()
	answer.wantProblem(t, quality.KindModelUnavailable)
	if answer.header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	r.triton.Start()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	for {
		answer := score()
		if answer.status == http.StatusOK {
			return
		}
		answer.wantProblem(t, quality.KindModelUnavailable)
		if ctx.Err() != nil {
			t.Fatalf("still %d after 20 s: %s", answer.status, answer.body)
		}
	}
}
