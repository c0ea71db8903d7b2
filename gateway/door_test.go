package gateway_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// onFakeTime serves a rig's router over connections in memory, on a clock that
// nobody waits for.
func onFakeTime(t *testing.T, r *rig, f func(t *testing.T, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		listener := newPipes()
		server := &http.Server{Handler: r.checked, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute,
			WriteTimeout: time.Minute}
		r.gateway.Watch(server)
		var serving sync.WaitGroup
		serving.Go(func() { _ = server.Serve(listener) })
		f(t, listener.dial)
		must(t, server.Close())
		serving.Wait()
	})
}

// exchange sends a message and keeps the connection open. It returns the
// answers, how long after the message each came, and how long the connection
// stayed open.
func exchange(
	t *testing.T, conn net.Conn, message string,
) (replies []reply, after []time.Duration, open time.Duration) {
	t.Helper()
	start := time.Now()
	var sending sync.WaitGroup
	sending.Go(func() { _, _ = io.WriteString(conn, message) }) // the server may close before all is read
	defer sending.Wait()
	defer conn.Close()
	for r := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			if _, err := r.ReadByte(); !errors.Is(err, io.EOF) {
				t.Errorf("the connection ended with %v", err)
			}
			return replies, after, time.Since(start)
		}
		after = append(after, time.Since(start))
		replies = append(replies, readReply(t, resp))
	}
}

// TestNoAnswerWaitsForABodyThatNobodyReads: whoever announces a body and sends
// none, or not all of it, gets the answer at once, and loses the connection.
func TestNoAnswerWaitsForABodyThatNobodyReads(t *testing.T) {
	const (
		atOnce = 25 * time.Millisecond
		closed = atOnce + 750*time.Millisecond // net/http waits for half a second of its own
	)
	for _, test := range []struct {
		name, request string
		status        int
		body          string // what is sent of it
	}{
		{"health", "GET /healthz HTTP/1.1\r\nContent-Length: 10", 200, ""},
		{"health, all but a byte", "GET /healthz HTTP/1.1\r\nContent-Length: 10", 200, "123456789"},
		{"health, more than is read", "GET /healthz HTTP/1.1\r\nContent-Length: 1000000", 200, "x"},
		{"health, a chunk that does not end", "GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked", 200, "10\r\nabc"},
		{"health, chunks that do not end", "GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked", 200,
			strings.Repeat("400\r\n"+strings.Repeat("x", 1024)+"\r\n", 300)},
		{"health, malformed chunks", "GET /healthz HTTP/1.1\r\nTransfer-Encoding: chunked", 200, "zz\r\n"},
		{"health, HTTP/1.0", "GET /healthz HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 10", 200, ""},
		{"readiness", "GET /readyz HTTP/1.1\r\nContent-Length: 10", 200, ""},
		{"metrics", "GET /metrics HTTP/1.1\r\nContent-Length: 10", 200, ""},
		{"a large answer", "GET /openapi.json HTTP/1.1\r\nContent-Length: 10", 200, ""},
		{"checkpoints", "GET /v1/checkpoints HTTP/1.1\r\nContent-Length: 10", 200, ""},
		{"no route", "POST /nowhere HTTP/1.1\r\nContent-Length: 10", 404, ""},
		{"no method", "PUT /v1/score HTTP/1.1\r\nContent-Length: 10", 405, ""},
		{"no key", "POST /v1/checkpoints HTTP/1.1\r\nContent-Length: 10", 401, ""},
		{"too large", "POST /v1/score HTTP/1.1\r\nContent-Length: 100000000", 413, ""},
		{"not asked for", "POST /v1/score HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 100000000", 413, ""},
		{"an unknown parameter", "POST /v1/score?x=1 HTTP/1.1\r\nContent-Length: 10", 400, ""},
		{"shed", "POST /v1/compare HTTP/1.1\r\nContent-Length: 10", 503, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(p *plan) {
				p.gateway.MinBodyRate = 1 << 10
				p.changes, p.gateway.AdminKey = &ledger{}, adminKey
				p.pressure = func() bool { return test.status == http.StatusServiceUnavailable }
			})
			onFakeTime(t, r, func(t *testing.T, dial func() net.Conn) {
				replies, after, open := exchange(t, dial(), test.request+"\r\nHost: a\r\n\r\n"+test.body)
				if len(replies) != 1 || replies[0].status != test.status {
					t.Errorf("answers %v, want one of %d", replies, test.status)
					return
				}
				if after[0] > atOnce || open > closed {
					t.Errorf("answered after %v, closed after %v, want at most %v and %v", after[0], open, atOnce, closed)
				}
			})
		})
	}
}

// TestStrangeExpectations: net/http answers them by itself and waits for the
// body, which has the time of a header.
func TestStrangeExpectations(t *testing.T) {
	r := newRig(t)
	onFakeTime(t, r, func(t *testing.T, dial func() net.Conn) {
		replies, after, open := exchange(t, dial(),
			"POST /v1/score HTTP/1.1\r\nHost: a\r\nExpect: a miracle\r\nContent-Length: 10\r\n\r\n")
		if len(replies) != 1 || replies[0].status != http.StatusExpectationFailed || after[0] > 0 || open != 5*time.Second {
			t.Errorf("answers %v after %v, closed after %v", replies, after, open)
		}
	})
}

// TestRequestsOutliveTheirHeader: the time for a header ends with it.
func TestRequestsOutliveTheirHeader(t *testing.T) {
	r := newRig(t, func(p *plan) {
		p.wrap = func(s gateway.Scorer) gateway.Scorer { return thoughtful{ready{s}} }
		p.metrics = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(20 * time.Second):
			case <-r.Context().Done():
				w.WriteHeader(http.StatusTeapot)
			}
		})
		p.undocumented = true
	})
	onFakeTime(t, r, func(t *testing.T, dial func() net.Conn) {
		for _, body := range []string{"", "x"} {
			replies, after, _ := exchange(t, dial(), fmt.Sprintf(
				"POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nConnection: close\r\n"+
					"Content-Length: %d\r\n\r\n%s", len(body), body))
			if len(replies) != 1 || replies[0].status != 200 || after[0] != 20*time.Second {
				t.Errorf("answers %v after %v", replies, after)
			}
		}
		// A route without a body sets no deadline of its own.
		replies, after, _ := exchange(t, dial(), "GET /metrics HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
		if len(replies) != 1 || replies[0].status != 200 || after[0] != 20*time.Second {
			t.Errorf("GET: answers %v after %v", replies, after)
		}
	})
}

// thoughtful is a use case that takes its time, unless the client leaves.
type thoughtful struct{ gateway.Scorer }

func (s thoughtful) Score(ctx context.Context, req scoring.Request) (scoring.Response, error) {
	select {
	case <-time.After(20 * time.Second):
		return s.Scorer.Score(ctx, req)
	case <-ctx.Done():
		return scoring.Response{}, ctx.Err()
	}
}

// TestConnectionsAreKept: what was sent whole costs nobody the connection, read
// or not, and neither does a second request in the same packet.
func TestConnectionsAreKept(t *testing.T) {
	r := newRig(t)
	onFakeTime(t, r, func(t *testing.T, dial func() net.Conn) {
		ten := strings.Repeat("x", 10)
		replies, after, open := exchange(t, dial(), ""+
			"GET /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n"+ten+
			"POST /nowhere HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\na\r\n"+ten+"\r\n0\r\n\r\n"+
			"PUT /healthz HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n"+strings.Repeat("x", 200_000)+
			"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
		var statuses []int
		for _, r := range replies {
			statuses = append(statuses, r.status)
		}
		if fmt.Sprint(statuses) != "[200 404 405 200]" || after[len(after)-1] != 0 {
			t.Errorf("answers %v after %v", statuses, after)
		}
		if open != 2*time.Minute {
			t.Errorf("the idle connection was closed after %v", open)
		}
	})
}

// TestMinimumRate: a body may pause and be slow, but not both for long. What
// stalls is cut, and its memory is free again.
func TestMinimumRate(t *testing.T) {
	const rate = 1000
	for _, test := range []struct {
		name  string
		chunk int
		every time.Duration
		stop  int           // bytes sent; 0: all
		want  time.Duration // until it is cut; 0: it isn't
	}{
		{"nothing comes", 1, time.Second, -1, 4 * time.Second},
		{"stalls after a fast start", 60_000, 0, 60_000, 4 * time.Second},
		{"stalls before the last byte", 99_999, 0, 99_999, 4 * time.Second},
		{"a byte a second", 1, time.Second, 0, 4 * time.Second},
		{"below the rate", 900, time.Second, 0, 4 * time.Second},
		{"at the rate", 5000, 3900 * time.Millisecond, 0, 31 * time.Second}, // the budget and a second
		{"well above it", 5000, time.Second, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(p *plan) {
				p.gateway.MinBodyRate, p.gateway.RequestTimeout = rate, 30*time.Second
				p.wrap = func(s gateway.Scorer) gateway.Scorer { return ready{s} }
				p.undocumented = true // what ready answers
			})
			body := string(testimages.PNG(8, 8))
			body += strings.Repeat("x", 100_000-len(body))
			onFakeTime(t, r, func(t *testing.T, dial func() net.Conn) {
				conn := dial()
				start := time.Now()
				var sending sync.WaitGroup
				sending.Go(func() {
					_, err := io.WriteString(conn, "POST /v1/score HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\n"+
						"Content-Length: 100000\r\n\r\n")
					end := test.stop
					if end == 0 {
						end = len(body)
					}
					for at := 0; err == nil && at < end; at += test.chunk {
						time.Sleep(test.every)
						_, err = io.WriteString(conn, body[at:min(at+test.chunk, end)])
					}
				})
				resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
				must(t, err)
				answer, took := readReply(t, resp), time.Since(start)
				if test.want == 0 {
					answer.scores(t)
				} else {
					answer.wantProblem(t, quality.KindRequestTimeout)
					if took != test.want {
						t.Errorf("cut after %v, want %v", took, test.want)
					}
				}
				must(t, conn.Close())
				sending.Wait()
				synctest.Wait()
				if held := r.gauge("agiqa.bodies.memory"); held != 0 {
					t.Errorf("%d bytes are still held", held)
				}
			})
		})
	}
}
