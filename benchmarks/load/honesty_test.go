package load_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/internal/proctest"
)

// served answers one request on one connection, the n-th of all (from 0). It
// returns whether the connection stays open.
type served func(n int, conn net.Conn) bool

const okAnswer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

func say(conn net.Conn, text string) bool {
	_, err := io.WriteString(conn, text)
	return err == nil
}

// pipes is a server without a network, so that the clock of a bubble moves it.
type pipes struct {
	serve served
	mu    sync.Mutex
	n     int
	open  []net.Conn
}

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	ours, theirs := net.Pipe()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.open = append(p.open, ours)
	go func() {
		defer ours.Close()
		in := bufio.NewReader(ours)
		for {
			req, err := http.ReadRequest(in)
			if err != nil {
				return
			}
			if _, err := io.Copy(io.Discard, req.Body); err != nil {
				return
			}
			p.mu.Lock()
			n := p.n
			p.n++
			p.mu.Unlock()
			if !p.serve(n, ours) {
				return
			}
		}
	}()
	return theirs, nil
}

func (p *pipes) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.open {
		c.Close()
	}
}

func options(connections int) load.Options {
	o := load.DefaultOptions()
	o.Connections, o.Wait = connections, load.Roughly
	return o
}

func schedule(t *testing.T, rate float64, d time.Duration, a load.Arrivals) load.Schedule {
	t.Helper()
	s, err := load.NewSchedule(load.Constant(rate, d), a, 7)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// measure runs a schedule in a bubble, against a server that is served by f.
func measure(t *testing.T, o load.Options, s load.Schedule, f served) load.Run {
	t.Helper()
	p := &pipes{serve: f}
	defer p.close()
	run, err := o.Open(t.Context(), target(t, p.dial), s)
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Check(); err != nil {
		t.Error(err)
	}
	return run
}

func target(t *testing.T, dial func(context.Context, string, string) (net.Conn, error)) *load.HTTP {
	t.Helper()
	h, err := load.NewHTTP(load.HTTPConfig{
		Name: "pipe", URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/v1/score"},
		Workload: load.Fixed{ContentType: "text/plain", Body: []byte("hello")}, Dial: dial,
	})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// counts is what a run comes to, by value.
type counts struct {
	Scheduled, Sent, Completed, Errors, Dropped, Unsent int
	Failures                                            map[load.Failure]int
}

func countsOf(r load.Report) counts {
	return counts{r.Scheduled, r.Sent, r.Completed, r.Errors, r.Dropped, r.Unsent, r.Failures}
}

func wantCounts(t *testing.T, run load.Run, want counts) load.Report {
	t.Helper()
	r := load.Summarise(run)
	if want.Failures == nil {
		want.Failures = map[load.Failure]int{}
	}
	if diff := cmp.Diff(want, countsOf(r)); diff != "" {
		t.Errorf("counts (-want +got):\n%s", diff)
	}
	if r.Completed+r.Errors+r.Dropped+r.Unsent != r.Scheduled {
		t.Errorf("%d + %d + %d + %d is not %d", r.Completed, r.Errors, r.Dropped, r.Unsent, r.Scheduled)
	}
	return r
}

// TestWaitingCounts is the case that a generator with coordinated omission
// gets wrong: a server that takes 100 ms, one connection, and 50 requests a
// second that are due all the same. The k-th is due at 20k ms and done at
// 100(k+1) ms.
func TestWaitingCounts(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		run := measure(t, options(1), schedule(t, 50, 2*time.Second, load.Even), func(_ int, conn net.Conn) bool {
			time.Sleep(100 * time.Millisecond)
			return say(conn, okAnswer)
		})
		r := wantCounts(t, run, counts{Scheduled: 100, Sent: 100, Completed: 100})
		want := load.Percentiles{Count: 100, Mean: 4060, P50: 4020, P90: 7220, P95: 7620, P99: 7940, P999: 8020, Max: 8020}
		if diff := cmp.Diff(&want, r.LatencyMS); diff != "" {
			t.Errorf("latency (-want +got):\n%s", diff)
		}
		if r.ServiceMS.Max != 100 || r.LateMS.P99 != 7840 || r.OwnLateMS.Max != 0 {
			t.Errorf("service %v, late %v, own %v; want 100, 7840 and 0", r.ServiceMS.Max, r.LateMS.P99, r.OwnLateMS.Max)
		}
		if r.TookS != 10 || r.CompletedPer != 10 {
			t.Errorf("took %v s for %v/s, want 10 s and 10/s", r.TookS, r.CompletedPer)
		}
		if len(r.Warnings) != 1 {
			t.Errorf("warnings %q, want one, of waiting", r.Warnings)
		}
	})
}

// TestClosedLoopSaysSo sees the same server in a closed loop: 20 requests,
// each of 100 ms, and a warning.
func TestClosedLoopSaysSo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: func(_ int, conn net.Conn) bool {
			time.Sleep(100 * time.Millisecond)
			return say(conn, okAnswer)
		}}
		defer p.close()
		run, err := options(1).Closed(t.Context(), target(t, p.dial), 2*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		r := wantCounts(t, run, counts{Scheduled: 20, Sent: 20, Completed: 20})
		if r.LatencyMS.P99 != 100 || r.Loop != load.ClosedLoop || len(r.Warnings) != 1 {
			t.Errorf("latency %+v, loop %s, warnings %q", r.LatencyMS, r.Loop, r.Warnings)
		}
	})
}

func TestEveryRequestIsCountedOnce(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name    string
		options func(*load.Options)
		serve   served
		want    counts
	}{
		{
			name: "the server hangs up before every third answer",
			serve: func(n int, conn net.Conn) bool {
				return n%3 != 2 && say(conn, okAnswer)
			},
			want: counts{Scheduled: 100, Sent: 100, Completed: 67, Errors: 33, Failures: map[load.Failure]int{load.Hangup: 33}},
		},
		{
			name: "the server hangs up in the middle of every second answer",
			serve: func(n int, conn net.Conn) bool {
				if n%2 == 1 {
					say(conn, okAnswer[:len(okAnswer)-1])
					return false
				}
				return say(conn, okAnswer)
			},
			want: counts{Scheduled: 100, Sent: 100, Completed: 50, Errors: 50, Failures: map[load.Failure]int{load.Hangup: 50}},
		},
		{
			name: "503 for every fourth, and the connection is closed",
			serve: func(n int, conn net.Conn) bool {
				if n%4 == 3 {
					say(conn, "HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
					return false
				}
				return say(conn, okAnswer)
			},
			want: counts{Scheduled: 100, Sent: 100, Completed: 75, Errors: 25, Failures: map[load.Failure]int{"status_503": 25}},
		},
		{
			name: "nonsense for every fifth",
			serve: func(n int, conn net.Conn) bool {
				if n%5 == 4 {
					say(conn, "220 smtp.example ready\r\n\r\n")
					return false
				}
				return say(conn, okAnswer)
			},
			want: counts{Scheduled: 100, Sent: 100, Completed: 80, Errors: 20, Failures: map[load.Failure]int{load.Garbled: 20}},
		},
		{
			name:    "the server never answers",
			options: func(o *load.Options) { o.Connections, o.Timeout, o.Drain = 10, 500*time.Millisecond, time.Minute },
			serve:   hang,
			want:    counts{Scheduled: 100, Sent: 100, Errors: 100, Failures: map[load.Failure]int{load.TimedOut: 100}},
		},
		{
			name:    "the server never answers and the drain ends first",
			options: func(o *load.Options) { o.Connections, o.Drain = 10, time.Second },
			serve:   hang,
			want:    counts{Scheduled: 100, Sent: 10, Errors: 10, Unsent: 90, Failures: map[load.Failure]int{load.CutOff: 10}},
		},
		{
			// Two are under way or waiting at most. One takes 100 ms, in which
			// two more are due: one waits, one is dropped.
			name:    "too many are outstanding",
			options: func(o *load.Options) { o.Connections, o.MaxOutstanding = 1, 2 },
			serve: func(_ int, conn net.Conn) bool {
				time.Sleep(41 * time.Millisecond)
				return say(conn, okAnswer)
			},
			want: counts{Scheduled: 100, Sent: 50, Completed: 50, Dropped: 50},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				o := options(4)
				if c.options != nil {
					c.options(&o)
				}
				run := measure(t, o, schedule(t, 50, 2*time.Second, load.Even), c.serve)
				wantCounts(t, run, c.want)
				if allFailed := c.want.Completed == 0; allFailed != (run.Err() != nil) {
					t.Errorf("the run's error is %v", run.Err())
				}
			})
		})
	}
}

// TestStoppedRun is cut short from outside: what was sent is counted, the rest
// is unsent, and the run says why.
func TestStoppedRun(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		why := errors.New("enough")
		ctx, stop := context.WithCancelCause(t.Context())
		defer stop(nil)
		time.AfterFunc(990*time.Millisecond, func() { stop(why) })
		p := &pipes{serve: func(_ int, conn net.Conn) bool { return say(conn, okAnswer) }}
		defer p.close()
		run, err := options(4).Open(ctx, target(t, p.dial), schedule(t, 50, 2*time.Second, load.Even))
		if err != nil {
			t.Fatal(err)
		}
		wantCounts(t, run, counts{Scheduled: 100, Sent: 50, Completed: 50, Unsent: 50})
		if !errors.Is(run.Err(), why) {
			t.Errorf("error %v, want %v", run.Err(), why)
		}
	})
}

// TestRealServer does on real sockets, smaller, what TestWaitingCounts does in
// a bubble, and what only sockets can do.
func TestRealServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	n := 0
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		n++
		reset := n%10 == 0
		mu.Unlock()
		if reset {
			conn, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = conn.(*net.TCPConn).SetLinger(0) // resets
			conn.Close()
			return
		}
		time.Sleep(20 * time.Millisecond)
		_, _ = io.WriteString(w, `{"results":[],"timing_ms":{"total":20,"prepare":1.5}}`)
	})}
	go func() { _ = srv.Serve(l) }()
	t.Cleanup(func() { srv.Close() })
	h, err := load.NewHTTP(load.HTTPConfig{
		URL: &url.URL{Scheme: "http", Host: l.Addr().String(), Path: "/v1/score"}, Timings: true,
		Workload: load.Fixed{Body: []byte("x")},
	})
	if err != nil {
		t.Fatal(err)
	}
	o := load.DefaultOptions()
	o.Connections = 1
	run, err := o.Open(t.Context(), h, schedule(t, 200, 500*time.Millisecond, load.Poisson))
	if err != nil {
		t.Fatal(err)
	}
	if err := run.Err(); err != nil {
		t.Fatal(err)
	}
	r := load.Summarise(run)
	if r.Scheduled != 100 || r.Completed != 90 || r.Errors != 10 ||
		r.Failures[load.Reset]+r.Failures[load.Hangup] != 10 || r.Statuses[200] != 90 {
		t.Errorf("counts %+v, statuses %v", countsOf(r), r.Statuses)
	}
	// 90 times 20 ms on one connection end no earlier than after 1.8 s; the
	// last was due in half a second.
	if r.LatencyMS.P99 < 1000 || r.ServiceMS.P50 < 20 || r.StagesMS["prepare"].P50 != 1.5 {
		t.Errorf("latency %+v, service %+v, stages %v", r.LatencyMS, r.ServiceMS, r.StagesMS)
	}
}

// TestNobodyListens has no answer at all, which is a failure of the run.
func TestNobodyListens(t *testing.T) {
	t.Parallel()
	nobody := proctest.Loopback(proctest.FreePort(t))
	dial := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, nobody)
	}
	run, err := options(2).Open(t.Context(), target(t, dial), schedule(t, 100, 100*time.Millisecond, load.Even))
	if err != nil {
		t.Fatal(err)
	}
	wantCounts(t, run, counts{Scheduled: 10, Errors: 10, Failures: map[load.Failure]int{load.Refused: 10}})
	if run.Err() == nil {
		t.Error("no error although every request failed")
	}
}

// hang says nothing until the caller has left.
func hang(_ int, conn net.Conn) bool {
	_, _ = io.Copy(io.Discard, conn)
	return false
}

// TestAnImageWithoutAScoreIsAnError looks into answers of status 200.
func TestAnImageWithoutAScoreIsAnError(t *testing.T) {
	t.Parallel()
	answers := []struct {
		body string
		bad  bool
	}{
		{`{"results":[{"score":1,"error":null},{"score":2,"error":null}]}`, false},
		{`{"results":[{"score":1,"error":null},{"score":null,"error":{"title":"not an image"}}]}`, true},
		{`{"results":[{"score":1,"error":null}, {"error": {"title":"spaces"}}]}`, true},
		{`{"results":[{"score":1,"error":null,"name":"\"error\":{"}]}`, false}, // quotes in a string are escaped
		{`{"errors":{"none":true}}`, false},
	}
	synctest.Test(t, func(t *testing.T) {
		p := &pipes{serve: func(n int, conn net.Conn) bool {
			body := answers[n%len(answers)].body
			return say(conn, fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(body), body))
		}}
		defer p.close()
		h, err := load.NewHTTP(load.HTTPConfig{
			URL: &url.URL{Scheme: "http", Host: "127.0.0.1:1"}, Workload: load.Fixed{}, Dial: p.dial, ImageErrors: true,
		})
		if err != nil {
			t.Fatal(err)
		}
		run, err := options(1).Open(t.Context(), h, schedule(t, 50, 2*time.Second, load.Even))
		if err != nil {
			t.Fatal(err)
		}
		r := wantCounts(t, run, counts{Scheduled: 100, Sent: 100, Completed: 60, Errors: 40,
			Failures: map[load.Failure]int{load.BadImage: 40}})
		for i, rec := range run.Records {
			if bad := answers[i%len(answers)].bad; bad != (rec.Failure == load.BadImage) {
				t.Fatalf("%s is %q", answers[i%len(answers)].body, rec.Failure)
			}
		}
		if r.Statuses[200] != 100 {
			t.Errorf("statuses %v", r.Statuses)
		}
	})
}
