package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/otlptest"
	"github.com/agiqa/agiqa/quality"
)

// TestDrainDelay: until load balancers have noticed that /readyz is red, what
// they send is answered.
func TestDrainDelay(t *testing.T) {
	t.Parallel()
	p := startUp(t, nil, "--drain-delay", "5s")
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	ready := func() int {
		res, err := http.Get(p.url + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ready() != http.StatusServiceUnavailable {
		<-tick.C
	}
	if a := post(t, p.url+"/v1/score", "image/jpeg", example(t, "harbour.jpg")); a.status != http.StatusOK {
		t.Errorf("status %d, %+v", a.status, a.problem)
	}
	<-p.done
	if status := p.cmd.ProcessState.ExitCode(); status != 0 {
		t.Errorf("exit status %d: %s", status, p.stderr())
	}
}

// hangBudget is drain-timeout in the tests of a shutdown under a hang: short, and
// long enough for a busy machine.
const hangBudget = 12 * time.Second

// TestDrainUnderAHang: a real tritonserver is stopped under requests, then agiqa
// is told to end. Every accepted request is told to go elsewhere, nothing is logged
// as if clients had left, the spans arrive, and the process ends within its budget.
func TestDrainUnderAHang(t *testing.T) {
	needsTriton(t)
	for _, tt := range []struct {
		name  string
		start func(t *testing.T, env []string) (p *process, triton int)
	}{
		{"up", func(t *testing.T, env []string) (*process, int) {
			p := startUp(t, env)
			return p, p.tritonPID(t)
		}},
		{"serve", func(t *testing.T, env []string) (*process, int) {
			triton := startUp(t, nil)
			pid := triton.tritonPID(t)
			t.Cleanup(func() { _ = syscall.Kill(pid, syscall.SIGCONT) })
			return startServe(t, append(env, "AGIQA_DATA_DIR="+t.TempDir()), triton.grpc), pid
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, collector := t.TempDir(), otlptest.Start(t)
			p, triton := tt.start(t, []string{"AGIQA_DATA_DIR=" + dir, "AGIQA_DRAIN_TIMEOUT=" + hangBudget.String(),
				"AGIQA_DRAIN_DELAY=1s", "AGIQA_MIN_BODY_RATE=0", "AGIQA_OTLP_ENDPOINT=" + collector.URL()})
			scoreOf(t, p, plain(1))
			if err := syscall.Kill(triton, syscall.SIGSTOP); err != nil {
				t.Fatal(err)
			}
			h := startHanging(t, p, 12)
			began := time.Now()
			if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			h.check(t, p)
			select {
			case <-p.done:
			case <-time.After(3 * hangBudget):
			}
			if took := time.Since(began); took > hangBudget+time.Second {
				t.Errorf("it ended after %v, want at most %v", took, hangBudget)
			}
			<-p.done
			if status := p.cmd.ProcessState.ExitCode(); status != 0 {
				t.Errorf("exit status %d, want 0: %s", status, p.stderr())
			}
			h.checkTraces(t, collector)
			for _, record := range p.records("request") {
				if record["status"] == 499.0 {
					t.Errorf("logged as if the client had left: %v", record)
				}
			}
			if tt.name == "up" {
				if left := append(family(t, dir), sharedMemory(t, p.cmd.Process.Pid)...); len(left) > 0 {
					t.Errorf("left behind: %q", left)
				}
			}
		})
	}
}

// hanging are requests that wait for a Triton that hangs, each on a connection of
// its own.
type hanging struct {
	group   sync.WaitGroup
	mu      sync.Mutex
	answers []hungAnswer
}

type hungAnswer struct {
	what    string
	err     error
	status  int
	header  http.Header
	closing bool
	problem gateway.Problem
}

// startHanging sends n scores, a comparison and a body that stops half way, and
// returns when the server has accepted all of them.
func startHanging(t *testing.T, p *process, n int) *hanging {
	t.Helper()
	h := &hanging{}
	client := &http.Client{Transport: &http.Transport{}}
	t.Cleanup(client.CloseIdleConnections)
	send := func(what, path string, body io.Reader) {
		h.group.Go(func() {
			a := hungAnswer{what: what}
			defer func() {
				h.mu.Lock()
				defer h.mu.Unlock()
				h.answers = append(h.answers, a)
			}()
			req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodPost, p.url+path, body)
			if err != nil {
				a.err = err
				return
			}
			req.Header.Set("Content-Type", "image/png")
			res, err := client.Do(req)
			if err != nil {
				a.err = err
				return
			}
			defer res.Body.Close()
			a.status, a.header, a.closing = res.StatusCode, res.Header, res.Close
			a.err = json.NewDecoder(res.Body).Decode(&a.problem)
		})
	}
	for i := range n {
		send(fmt.Sprintf("score %d", i), "/v1/score", bytes.NewReader(plain(1000+i)))
	}
	send("compare", "/v1/compare?checkpoints=demo,demo-shared", bytes.NewReader(plain(2000)))
	slow, feed := io.Pipe()
	t.Cleanup(func() { _ = feed.Close() })
	send("a body that stops half way", "/v1/score", slow)
	if _, err := feed.Write(plain(3000)[:20]); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all requests are accepted", func() bool {
		return p.metric(t, "agiqa_requests_active") >= float64(n+2)
	})
	return h
}

// check wants each request answered: by a 503 that says when to try again and
// that the connection ends. Most are told that Triton hangs, which is found out before the shutdown would
// interrupt them; that it does is tested in package gateway.
func (h *hanging) check(t *testing.T, p *process) {
	t.Helper()
	h.group.Wait()
	for _, a := range h.answers {
		if a.err != nil {
			t.Errorf("%s: no answer: %v", a.what, a.err)
			continue
		}
		kind, _, _ := strings.Cut(a.header.Get("Content-Type"), ";")
		if a.status != http.StatusServiceUnavailable || !a.problem.Retryable || a.header.Get("Retry-After") == "" ||
			!a.closing || kind != "application/problem+json" ||
			!slices.Contains([]quality.Kind{quality.KindDraining, quality.KindModelUnavailable}, a.problem.Code) {
			t.Errorf("%s: status %d, closing %t, header %v, %+v", a.what, a.status, a.closing, a.header, a.problem)
		}
	}
	if t.Failed() {
		t.Logf("the log:\n%s", p.stderr())
	}
}

// checkTraces wants the span of each request: telemetry was flushed after them.
func (h *hanging) checkTraces(t *testing.T, collector *otlptest.Receiver) {
	t.Helper()
	arrived := map[string]bool{}
	for _, span := range collector.Spans() {
		arrived[span.Trace] = true
	}
	for _, a := range h.answers {
		if a.err == nil && !arrived[a.problem.TraceID] {
			t.Errorf("%s: no span of its trace %s arrived", a.what, a.problem.TraceID)
		}
	}
}
