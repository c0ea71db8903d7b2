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

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// attended starts a real server whose connections the gateway attends, as the
// program does.
func (r *rig) attended() *httptest.Server {
	r.t.Helper()
	s := httptest.NewUnstartedServer(r.gateway.Handler())
	s.Config.MaxHeaderBytes = 64 << 10
	s.Listener = r.gateway.Attend(s.Config, s.Listener)
	s.Start()
	r.t.Cleanup(s.Close)
	return s
}

// wantAccounts: every request has one server span, one value in the histogram
// and one log line, under the ids of its answer.
func wantAccounts(t *testing.T, r *rig, requests int) {
	t.Helper()
	spans, lines := r.serverSpans(), r.requests()
	values := int64(0)
	for _, n := range r.counts("agiqa.request.duration") {
		values += n
	}
	if len(spans) != requests || len(lines) != requests || values != int64(requests) {
		t.Errorf("%d spans, %d log lines, %d values, want %d of each: %v", len(spans), len(lines), values, requests, lines)
	}
	for _, s := range spans {
		if s.Parent().IsValid() || s.SpanKind() != trace.SpanKindServer || s.EndTime().Before(s.StartTime()) {
			t.Errorf("span %s: parent %v, kind %v, from %v to %v", s.Name(), s.Parent(), s.SpanKind(), s.StartTime(), s.EndTime())
		}
	}
}

// TestWhatNetHTTPAnswersByItself: no handler is called, and the request is
// seen all the same.
func TestWhatNetHTTPAnswersByItself(t *testing.T) {
	const okay = "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
	for _, test := range []struct {
		name, message string
		statuses      []int // of the answers, the last by net/http
		kind          quality.Kind
	}{
		{"not HTTP", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}, quality.KindBadRequest},
		{"no host", "GET / HTTP/1.1\r\n\r\n", []int{400}, quality.KindBadRequest},
		{"zero byte in a header", "GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n\r\n", []int{400}, quality.KindBadRequest},
		{"two lengths", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", []int{400}, quality.KindBadRequest},
		{"header of 1 MB", "GET / HTTP/1.1\r\nHost: a\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", []int{431}, quality.KindHeaderFieldsTooLarge},
		{"unknown transfer encoding", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: rot13\r\n\r\n", []int{501}, quality.KindBadRequest},
		{"version of tomorrow", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", []int{505}, quality.KindBadRequest},
		{"another expectation", "POST / HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\nContent-Length: 1\r\n\r\nx", []int{417}, quality.KindBadRequest},
		{"behind a good one, in one packet", okay + "nonsense\r\n\r\n", []int{200, 400}, quality.KindBadRequest},
		{"behind two good ones", okay + okay + "nonsense\r\n\r\n", []int{200, 200, 400}, quality.KindBadRequest},
		{"ends in its header", "GET / HTTP/1.1\r\nHo", []int{400}, quality.KindBadRequest},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			s := r.attended()
			replies := rawly(t, s, test.message, test.name == "ends in its header")
			s.Close()
			var got []int
			for _, reply := range replies {
				got = append(got, reply.status)
			}
			if fmt.Sprint(got) != fmt.Sprint(test.statuses) {
				t.Fatalf("answers %v, want %v", got, test.statuses)
			}
			wantAccounts(t, r, len(test.statuses))
			last := replies[len(replies)-1]
			line, span := r.requests()[len(got)-1], r.serverSpans()[len(got)-1]
			if line["status"] != float64(last.status) || line["route"] != "unparsed" || line["code"] != string(test.kind) || line["level"] != "INFO" {
				t.Errorf("log line %v", line)
			}
			id, trace := last.header.Get("X-Request-Id"), last.header.Get("X-Trace-Id")
			if !uuid7.MatchString(id) || line["request_id"] != id || line["trace_id"] != trace || span.SpanContext().TraceID().String() != trace {
				t.Errorf("answer has %q and %q, log line %v, span %s", id, trace, line, span.SpanContext().TraceID())
			}
			a := attributes(span)
			if a["http.response.status_code"] != fmt.Sprint(last.status) || a["error.type"] != string(test.kind) || a["agiqa.request.id"] != id || (span.Status().Code == codes.Error) != (last.status >= 500) {
				t.Errorf("span %s: status %v, attributes %v", span.Name(), span.Status(), a)
			}
			if got := r.sums("agiqa.problems")["code="+string(test.kind)]; got != 1 {
				t.Errorf("agiqa.problems counts %d %s, want 1", got, test.kind)
			}
		})
	}
}

// TestAnswersOfHandlersAreLeftAlone, whatever their status: the wrapper of the
// connection tells them from net/http's own.
func TestAnswersOfHandlersAreLeftAlone(t *testing.T) {
	r := newRig(t)
	s := r.attended()
	file := string(testimages.PNG(8, 8))
	n := 0
	for _, message := range []string{
		"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\nGET /nowhere HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"GET /healthz HTTP/1.0\r\n\r\n",
		"OPTIONS * HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
		"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nConnection: close\r\nContent-Length: " + fmt.Sprint(len(file)) + "\r\n\r\n" + file,
		"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: 2000000\r\nExpect: 100-continue\r\n\r\n",
		"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
	} {
		for _, reply := range rawly(t, s, message, false) {
			n++
			if got := reply.header.Values("X-Trace-Id"); len(got) != 1 {
				t.Errorf("answer %d has trace ids %v", reply.status, got)
			}
		}
	}
	s.Close()
	wantAccounts(t, r, n)
	if n != 7 {
		t.Errorf("%d answers, want 7", n)
	}
	for _, l := range r.requests() {
		if l["route"] == "unparsed" {
			t.Errorf("taken for net/http's own: %v", l)
		}
	}
}

// TestHeaderThatNeverEnds, on a clock that nobody waits for: net/http closes
// without an answer.
func TestHeaderThatNeverEnds(t *testing.T) {
	for _, test := range []struct {
		name   string
		before string // a whole request on the same connection
		parts  []string
		leaves bool
		status float64
		kind   quality.Kind
		took   time.Duration
	}{
		{"too slow", "", []string{"GET /healthz HT", "TP/1.1\r\n"}, false, 408, quality.KindRequestTimeout, 5 * time.Second},
		{"too slow, the second on its connection", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", []string{"GET / HTTP", "/1.1\r\nHost: a\r\n"}, false, 408, quality.KindRequestTimeout, 5 * time.Second},
		{"too slow in its first line, which net/http calls malformed", "", []string{"GET ", "/"}, false, 400, quality.KindBadRequest, 5 * time.Second},
		{"a byte, then nobody", "GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n", []string{"G"}, true, 499, quality.KindClientClosedRequest, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			requests := 1
			synctest.Test(t, func(t *testing.T) {
				listener := newPipes()
				server := &http.Server{Handler: r.gateway.Handler(), ReadHeaderTimeout: 5 * time.Second}
				var serving sync.WaitGroup
				attended := r.gateway.Attend(server, listener)
				serving.Go(func() { _ = server.Serve(attended) })
				conn := listener.dial()
				if test.before != "" {
					requests = 2
					_, err := io.WriteString(conn, test.before)
					must(t, err)
					resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
					must(t, err)
					readReply(t, resp)
					synctest.Wait()
				}
				for _, part := range test.parts {
					_, err := io.WriteString(conn, part)
					must(t, err)
					time.Sleep(time.Second)
				}
				go func() { _, _ = io.Copy(io.Discard, conn) }()
				if test.leaves {
					must(t, conn.Close())
				}
				time.Sleep(10 * time.Second)
				_ = conn.Close()
				must(t, server.Close())
				serving.Wait()
			})
			wantAccounts(t, r, requests)
			line := r.requests()[requests-1]
			if line["status"] != test.status || line["code"] != string(test.kind) || line["route"] != "unparsed" {
				t.Errorf("log line %v", line)
			}
			span := r.serverSpans()[requests-1]
			if took := span.EndTime().Sub(span.StartTime()); test.took > 0 && took != test.took {
				t.Errorf("the span lasts %v, want %v", took, test.took)
			}
			if span.Status().Code != codes.Unset {
				t.Errorf("span status %v, want unset", span.Status())
			}
		})
	}
}

// TestSilentConnections that send nothing are no requests.
func TestSilentConnections(t *testing.T) {
	r := newRig(t)
	s := r.attended()
	for range 3 {
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		must(t, err)
		must(t, conn.Close())
	}
	if got := rawly(t, s, "GET /healthz HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", false); len(got) != 1 {
		t.Errorf("%d answers", len(got))
	}
	s.Close()
	wantAccounts(t, r, 1)
}

// TestSpanBeginsAtTheSocket: the time of a header that comes slowly is part of
// its request.
func TestSpanBeginsAtTheSocket(t *testing.T) {
	r := newRig(t)
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		server := &http.Server{Handler: r.gateway.Handler()}
		var serving sync.WaitGroup
		attended := r.gateway.Attend(server, listener)
		serving.Go(func() { _ = server.Serve(attended) })
		conn := listener.dial()
		_, err := io.WriteString(conn, "GET /healthz HTTP/1.1\r\n")
		must(t, err)
		time.Sleep(3 * time.Second)
		_, err = io.WriteString(conn, "Host: a\r\n\r\n")
		must(t, err)
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		must(t, err)
		readReply(t, resp)
		must(t, conn.Close())
		must(t, server.Close())
		serving.Wait()
	})
	span := r.serverSpans()[0]
	if took := span.EndTime().Sub(span.StartTime()); took != 3*time.Second {
		t.Errorf("the span lasts %v, want 3 s", took)
	}
}
