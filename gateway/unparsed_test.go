package gateway_test

import (
	"bufio"
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

	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/internal/testimages"
)

// watched starts a real server whose connections the gateway watches, as the
// program does.
func (r *rig) watched() *httptest.Server {
	r.t.Helper()
	s := httptest.NewUnstartedServer(r.gateway.Handler())
	s.Config.MaxHeaderBytes = 64 << 10
	r.gateway.Watch(s.Config)
	s.Start()
	r.t.Cleanup(s.Close)
	return s
}

// wantAccounts: every request of a handler has one server span, one value in
// the histogram and one log line; what never became one is counted.
func wantAccounts(t *testing.T, r *rig, requests, unparsed int) {
	t.Helper()
	spans, lines := r.serverSpans(), r.requests()
	values := int64(0)
	for _, n := range r.values("agiqa.request.duration") {
		values += n
	}
	if len(spans) != requests || len(lines) != requests || values != int64(requests) {
		t.Errorf("%d spans, %d log lines, %d values, want %d of each: %v", len(spans), len(lines), values, requests, lines)
	}
	for _, s := range spans {
		if s.Parent().IsValid() || s.SpanKind() != trace.SpanKindServer || s.EndTime().Before(s.StartTime()) {
			t.Errorf("span %s: parent %v, kind %v, from %v to %v", s.Name(), s.Parent(),
				s.SpanKind(), s.StartTime(), s.EndTime())
		}
	}
	if got := r.values("agiqa.connections.unparsed")[""]; got != int64(unparsed) {
		t.Errorf("agiqa.connections.unparsed is %d, want %d", got, unparsed)
	}
}

// What net/http answers by itself is counted, and what a handler answers is
// not, whatever its status.
func TestWhatNetHTTPAnswersByItselfIsCounted(t *testing.T) {
	const okay = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
	file := string(testimages.PNG(8, 8))
	score := "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"
	for _, test := range []struct {
		name, message string
		statuses      []int // of the answers
		unparsed      int   // of them
		cut           bool
	}{
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}, 1, false},
		{"no host", "GET / HTTP/1.1\r\n\r\n", []int{400}, 1, false},
		{"zero byte in a header", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", []int{400}, 1, false},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", []int{400}, 1, false},
		{"header of 1 MB", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1<<20) +
			"\r\n\r\n", []int{431}, 1, false},
		{"unknown transfer encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: rot13\r\n\r\n", []int{501}, 1, false},
		{"version of tomorrow", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", []int{505}, 1, false},
		{"another expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\nContent-Length: 1\r\n\r\nx", []int{417},
			1, false},
		{"ends in its header", "GET / HTTP/1.1\r\nHo", []int{400}, 1, true},
		{"no byte", "", nil, 0, true},
		{"two requests", okay + "GET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{200, 404}, 0, false},
		{"HTTP/1.0", "GET /healthz HTTP/1.0\r\n\r\n", []int{200}, 0, false},
		{"OPTIONS *", "OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", []int{404}, 0, false},
		{"scored", score + "Connection: close\r\nContent-Length: " + fmt.Sprint(len(file)) +
			"\r\n\r\n" + file, []int{200}, 0, false},
		{"too large", score + "Content-Length: 2000000\r\nExpect: 100-continue\r\n\r\n", []int{413}, 0, false},
		{"malformed body", score + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", []int{400}, 0, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			s := r.watched()
			var got []int
			handled := 0
			for _, reply := range rawly(t, s, test.message, test.cut) {
				got = append(got, reply.status)
				if reply.header.Get("X-Trace-Id") != "" {
					handled++
				}
			}
			s.Close()
			if fmt.Sprint(got) != fmt.Sprint(test.statuses) {
				t.Fatalf("answers %v, want %v", got, test.statuses)
			}
			if want := len(test.statuses) - test.unparsed; handled != want {
				t.Errorf("%d answers have a trace id, want %d", handled, want)
			}
			wantAccounts(t, r, len(test.statuses)-test.unparsed, test.unparsed)
		})
	}
}

// A header that never ends, on the test's clock: net/http closes the
// connection after ReadHeaderTimeout.
func TestHeaderThatNeverEnds(t *testing.T) {
	const okay = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, test := range []struct {
		name   string
		before string // a whole request on the same connection
		parts  []string
		leaves bool // the client, after the parts
	}{
		{"too slow", "", []string{"GET /healthz HT", "TP/1.1\r\n"}, false},
		{"too slow, the second on its connection", okay, []string{"GET / HTTP", "/1.1\r\nHost: a\r\n"}, false},
		{"the client leaves", "", []string{"GET / HTTP/1.1\r\n"}, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			requests := 0
			synctest.Test(t, func(t *testing.T) {
				listener := newPipes()
				server := &http.Server{Handler: r.gateway.Handler(), ReadHeaderTimeout: 5 * time.Second}
				r.gateway.Watch(server)
				var serving sync.WaitGroup
				serving.Go(func() { _ = server.Serve(listener) })
				conn := listener.dial()
				if test.before != "" {
					requests = 1
					_, err := io.WriteString(conn, test.before)
					must(t, err)
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					must(t, err)
					readReply(t, resp)
					synctest.Wait()
				}
				start := time.Now()
				for _, part := range test.parts {
					_, err := io.WriteString(conn, part)
					must(t, err)
					time.Sleep(time.Second)
				}
				if test.leaves {
					must(t, conn.Close())
				} else {
					_, _ = io.Copy(io.Discard, conn)
					if took := time.Since(start); took != 5*time.Second {
						t.Errorf("the connection was closed after %v, want 5s", took)
					}
				}
				synctest.Wait()
				_ = conn.Close()
				must(t, server.Close())
				serving.Wait()
			})
			wantAccounts(t, r, requests, 1)
		})
	}
}

// TestSilentConnections that send nothing are no requests.
func TestSilentConnections(t *testing.T) {
	r := newRig(t)
	s := r.watched()
	for range 3 {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		must(t, err)
		must(t, conn.Close())
	}
	if got := rawly(t, s, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false); len(got) != 1 {
		t.Errorf("%d answers", len(got))
	}
	s.Close()
	wantAccounts(t, r, 1, 0)
}
