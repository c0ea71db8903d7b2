package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/otlptest"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/internal/testimages"
)

var traceRequests = flag.Int("traces", 300, "requests of TestEveryRequestIsTraced")

// collector is a running OpenTelemetry Collector that passes spans on to a
// receiver, one request for one request: what it has answered has arrived.
type collector struct {
	url string
	cmd *exec.Cmd
}

// startCollector fails where the collector was not built: a test that did not
// run must not look like one that passed.
func startCollector(t *testing.T, receiver *otlptest.Receiver) *collector {
	t.Helper()
	sums, err := os.ReadFile(filepath.Join(repository, "tools", "otelcol", "go.sum"))
	if err != nil {
		t.Fatal(err)
	}
	binary, err := filepath.Abs(filepath.Join(repository, ".cache",
		fmt.Sprintf("otelcol-%x", sha256.Sum256(sums))[:len("otelcol-")+16]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(binary); err != nil {
		t.Fatal("no collector; make it with: make collector")
	}
	address := proctest.Loopback(proctest.FreePort(t))
	config := filepath.Join(t.TempDir(), "otelcol.yaml")
	if err := os.WriteFile(config, fmt.Appendf(nil, `
receivers:
  otlp: { protocols: { http: { endpoint: %s } } }
exporters:
  otlp_http: { endpoint: %s, sending_queue: { enabled: false }, retry_on_failure: { enabled: false } }
service:
  pipelines: { traces: { receivers: [otlp], exporters: [otlp_http] } }
  telemetry: { metrics: { level: none }, logs: { level: warn } }
`, address, receiver.URL()), 0o600); err != nil {
		t.Fatal(err)
	}
	c := &collector{url: "http://" + address, cmd: exec.Command(binary, "--config", config)}
	var log bytes.Buffer
	c.cmd.Stdout, c.cmd.Stderr = &log, &log
	if err := c.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.kill()
		if log.Len() > 0 {
			t.Logf("the collector said:\n%.4000s", &log)
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return c
		}
		if time.Now().After(deadline) {
			c.kill()
			t.Fatalf("the collector does not listen: %v\n%s", err, &log)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func (c *collector) kill() {
	if c.cmd.ProcessState == nil {
		_ = c.cmd.Process.Kill()
		_ = c.cmd.Wait()
	}
}

// sent is a request and what came of it.
type sent struct {
	class         string
	id            string // X-Request-ID that was sent; empty: the message is no request
	trace         string // X-Trace-ID of the answer; empty: there was none
	status        int    // of the answer; 0: none
	wantsTriton   bool   // a 200 of it was scored
	mustHaveTrace bool
}

// traffic sends requests of every outcome.
type traffic struct {
	url, host string
	fresh     atomic.Int64
	cached    []byte
}

// contexts are the trace headers of strangers, all of which are to change
// nothing.
var contexts = []map[string]string{
	{},
	{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"},
	{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}, // do not trace
	{"traceparent": "00-not-a-traceparent"},
	{"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "tracestate": strings.Repeat("a=b,", 100),
		"baggage": strings.Repeat("k="+strings.Repeat("v", 100)+",", 80)},
}

// http sends a whole request and reads the whole answer.
func (f *traffic) http(class, id, method, path, contentType string, body []byte, headers map[string]string) sent {
	out := sent{class: class, id: id, mustHaveTrace: true}
	req, err := http.NewRequest(method, f.url+path, bytes.NewReader(body))
	if err != nil {
		return out
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Request-ID", id)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return out
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, res.Body)
	out.status, out.trace = res.StatusCode, res.Header.Get("X-Trace-ID")
	return out
}

// raw sends bytes, ends its side of the connection, and reads what comes. With
// wait it ends only once something has come.
func (f *traffic) raw(class, id, message string, wait bool) sent {
	out := sent{class: class, id: id}
	conn, err := net.Dial("tcp", f.host)
	if err != nil {
		return out
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(60 * time.Second))
	_, _ = io.WriteString(conn, message)
	r := bufio.NewReader(conn)
	if wait {
		_, _ = r.ReadString('\n')
		_ = conn.(*net.TCPConn).SetLinger(0)
		return out
	}
	_ = conn.(*net.TCPConn).CloseWrite()
	if res, err := http.ReadResponse(r, nil); err == nil {
		_, _ = io.Copy(io.Discard, res.Body)
		out.status, out.trace, out.mustHaveTrace = res.StatusCode, res.Header.Get("X-Trace-ID"), id != ""
	}
	return out
}

// classes are the outcomes. The first few are the usual ones.
func (f *traffic) send(i int) sent {
	id, headers := fmt.Sprint("t-", i), contexts[i%len(contexts)]
	post := func(class string, body []byte) sent {
		return f.http(class, id, http.MethodPost, "/v1/score", "image/png", body, headers)
	}
	line := fmt.Sprintf("POST /v1/score HTTP/1.1\r\nHost: localhost\r\nX-Request-ID: %s\r\nContent-Type: image/png\r\n", id)
	switch i % 20 {
	case 0, 1, 2:
		n := int(f.fresh.Add(1))
		out := post("fresh", testimages.PNG(8+n%200, 8+n/200))
		out.wantsTriton = out.status == http.StatusOK
		return out
	case 3, 4, 5:
		out := post("cached", f.cached)
		out.wantsTriton = out.status == http.StatusOK
		return out
	case 6:
		return post("no image", []byte("x"))
	case 7:
		return post("truncated", f.cached[:len(f.cached)/2])
	case 8:
		return f.http("unknown route", id, http.MethodGet, "/nowhere", "", nil, headers)
	case 9:
		return f.http("method not allowed", id, http.MethodPut, "/v1/score", "", nil, headers)
	case 10:
		return f.http("unknown checkpoint", id, http.MethodPost, "/v1/score?checkpoint=nobody",
			"image/png", f.cached, headers)
	case 11:
		return f.http("bad JSON", id, http.MethodPost, "/v1/score", "application/json", []byte(`{"images":`), headers)
	case 12:
		return f.http("healthz", id, http.MethodGet, "/healthz", "", nil, headers)
	case 13:
		return f.raw("too large", id, line+"Content-Length: 99999999999\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n",
			false)
	case 14:
		return f.raw("malformed", "", "GET / HTTP/1.1\r\nBroken\r\n\r\n", false)
	case 15:
		return f.raw("header too large", "", "GET / HTTP/1.1\r\nHost: localhost\r\nX: "+strings.Repeat("a", 80<<10)+"\r\n\r\n", false)
	case 16:
		return f.raw("left in its header", "", "GET / HTTP/1.1\r\nHost: localhost\r\n", false)
	case 17: // after 100 Continue the handler is at work
		return f.raw("left in its body", id, line+"Content-Length: 5000\r\nExpect: 100-continue\r\n\r\n", true)
	case 18:
		return f.raw("left while it was worked on", id,
			line+fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(f.cached), f.cached), false)
	default:
		return f.http("not allowed", id, http.MethodPost, "/v1/checkpoints/demo/activate", "application/json", nil, headers)
	}
}

// run sends n requests from a few clients; halfway is called in the middle.
func (f *traffic) run(first, n int, halfway func()) []sent {
	out := make([]sent, n)
	var next, done atomic.Int64
	var clients sync.WaitGroup
	for range 12 {
		clients.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				out[i] = f.send(first + i)
				if int(done.Add(1)) == n/2 && halfway != nil {
					halfway()
				}
			}
		})
	}
	clients.Wait()
	return out
}

// books reads agiqa.spans.
func books(t *testing.T, p *process) map[string]int {
	t.Helper()
	res, err := http.Get(p.url + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	out := map[string]int{}
	lines := bufio.NewScanner(res.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, _ := strings.Cut(lines.Text(), "} ")
		switch {
		case strings.HasPrefix(name, "agiqa_spans_total{"):
			_, outcome, _ := strings.Cut(name, `outcome="`)
			outcome, _, _ = strings.Cut(outcome, `"`)
			out[outcome], _ = strconv.Atoi(value)
		case strings.HasPrefix(lines.Text(), "agiqa_spans_queued"):
			fields := strings.Fields(lines.Text())
			out["queued"], _ = strconv.Atoi(fields[len(fields)-1])
		}
	}
	return out
}

// TestEveryRequestIsTraced: requests of every outcome, with every kind of trace
// header, through the real program, the real Triton and a real collector; then
// the same while the collector is killed.
func TestEveryRequestIsTraced(t *testing.T) {
	receiver := otlptest.Start(t)
	needsTriton(t)
	needsWholeTraces(t)
	c := startCollector(t, receiver)
	p := startUp(t, []string{"AGIQA_OTLP_ENDPOINT=" + c.url, "AGIQA_LOG_LEVEL=warn",
		"AGIQA_CONCURRENCY=8", "AGIQA_QUEUE=2"})
	f := &traffic{url: p.url, host: strings.TrimPrefix(p.url, "http://"), cached: testimages.PNG(64, 48)}
	total := *traceRequests

	t.Run("one whole trace for each", func(t *testing.T) {
		start := time.Now()
		requests := f.run(0, total, nil)
		t.Logf("%d requests in %v: %s", len(requests), time.Since(start).Round(time.Millisecond), tally(requests))
		checkOutcomes(t, requests)
		var bad []string
		silent := 0
		settle(t, 30*time.Second, func() bool {
			bad, silent = faults(requests, receiver.Spans())
			return len(bad) == 0 && silent == 0
		})
		if got, want := int(p.metric(t, "agiqa_connections_unparsed_total")), unparsed(requests); got != want || want == 0 {
			t.Errorf("agiqa_connections_unparsed_total is %d, want %d", got, want)
		}
		byService := map[string]int{}
		for _, s := range receiver.Spans() {
			byService[s.Service]++
		}
		t.Logf("spans that arrived: %v; of %d calls of Triton %d have no spans of Triton's",
			byService, calls(requests), silent)
		if silent > 0 {
			t.Errorf("of %d calls of Triton %d have no spans of Triton's", calls(requests), silent)
		}
		for _, b := range bad[:min(len(bad), 10)] {
			t.Error(b)
		}
		if len(bad) > 10 {
			t.Errorf("and %d more", len(bad)-10)
		}
	})

	t.Run("the collector is killed half way", func(t *testing.T) {
		before := books(t, p)
		requests := f.run(total*20, max(total/3, 100), c.kill)
		t.Logf("%d requests: %s", len(requests), tally(requests))
		checkOutcomes(t, requests)
		now := books(t, p)
		if now["ended"] != now["exported"]+now["failed"]+now["dropped"]+now["queued"] || now["ended"] <= before["ended"] {
			t.Errorf("the books do not add up: %v", now)
		}
		stopping := time.Now()
		p.stop(t, syscall.SIGTERM)
		if took := time.Since(stopping); took > 30*time.Second {
			t.Errorf("the program took %v to end with a dead collector", took)
		}
		lost := p.records("some spans were not exported")
		if len(lost) != 1 {
			t.Fatalf("%d lines about lost spans, want 1", len(lost))
		}
		n := func(key string) int { return int(lost[0][key].(float64)) }
		arrived := map[string]bool{}
		for _, s := range receiver.Spans() {
			if s.Service == "agiqa" {
				arrived[s.ID] = true
			}
		}
		missing := n("ended") - len(arrived)
		// A batch that arrived, and whose answer the kill cut off, counts as
		// lost to the program that sent it.
		if gone := n("failed") + n("dropped"); n("ended") != n("exported")+gone || missing > gone ||
			missing < gone-2048 || gone == 0 {
			t.Errorf("%d spans are missing, the log says %v", missing, lost[0])
		}
		t.Logf("%d spans ended, %d arrived, failed %d, dropped %d", n("ended"), len(arrived), n("failed"), n("dropped"))
	})
}

// calls is how many requests Triton certainly worked on.
func calls(requests []sent) (n int) {
	for _, r := range requests {
		if r.wantsTriton {
			n++
		}
	}
	return n
}

// unparsed is how many messages were no requests, which net/http answers by
// itself.
func unparsed(requests []sent) (n int) {
	for _, r := range requests {
		if r.id == "" {
			n++
		}
	}
	return n
}

// settle waits for a condition, or for patience to end, without failing.
func settle(t *testing.T, within time.Duration, condition func() bool) {
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	for !condition() {
		select {
		case <-time.After(500 * time.Millisecond):
		case <-ctx.Done():
			return
		}
	}
}

func tally(requests []sent) string {
	n := map[string]int{}
	for _, r := range requests {
		n[fmt.Sprint(r.class, " ", r.status)]++
	}
	var out []string
	for k, v := range n {
		out = append(out, fmt.Sprint(k, ": ", v))
	}
	slices.Sort(out)
	return strings.Join(out, ", ")
}

// checkOutcomes holds that tracing changed no answer.
func checkOutcomes(t *testing.T, requests []sent) {
	t.Helper()
	want := map[string][]int{
		"fresh": {200, 503}, "cached": {200, 503}, "no image": {415, 503}, "truncated": {422, 503}, // 503: overloaded
		"unknown route": {404}, "method not allowed": {405}, "unknown checkpoint": {404, 503},
		"bad JSON": {400, 503}, "healthz": {200},
		"too large": {413}, "malformed": {400}, "header too large": {431}, "left in its header": {0, 400},
		"left in its body": {0}, "left while it was worked on": {0, 200, 499, 503}, "not allowed": {401, 403},
	}
	for _, r := range requests {
		if !slices.Contains(want[r.class], r.status) {
			t.Errorf("%s (%s) was answered with %d", r.class, r.id, r.status)
		}
	}
	if calls(requests) == 0 {
		t.Error("nothing was scored")
	}
}

// withBatches are the spans of a trace, and those of the traces in which calls
// were made that it shared with others: its stages are linked to them.
func withBatches(traces map[string][]otlptest.Span, trace string) []otlptest.Span {
	all := slices.Clone(traces[trace])
	for _, s := range traces[trace] {
		for _, l := range s.Links {
			if l.Trace != trace &&
				slices.ContainsFunc(traces[l.Trace], func(s otlptest.Span) bool { return s.ID == l.ID && s.Name == "batch" }) {
				all = append(all, traces[l.Trace]...)
			}
		}
	}
	return all
}

// faults says what is wrong with the traces of requests, and how many that
// were scored have no span of Triton's.
func faults(requests []sent, spans []otlptest.Span) (bad []string, silent int) {
	fault := func(format string, args ...any) { bad = append(bad, fmt.Sprintf(format, args...)) }
	traces := map[string][]otlptest.Span{}
	roots := map[string]otlptest.Span{} // of requests, by request id
	ours := map[string]bool{}           // traces of requests
	count, cut := 0, 0
	for _, s := range spans {
		traces[s.Trace] = append(traces[s.Trace], s)
		if s.Service != "agiqa" || s.Kind != 2 {
			continue
		}
		count++
		id := s.Attributes["agiqa.request.id"]
		if _, twice := roots[id]; twice || s.Parent != "" {
			fault("request %s has a second span, or one with a parent: %+v", id, s)
		}
		roots[id], ours[s.Trace] = s, true
	}
	if want := len(requests) - unparsed(requests); count != want {
		fault("%d server spans of %d requests", count, want)
	}
	for _, r := range requests {
		root, ok := roots[r.id]
		switch {
		case r.id == "": // no request
			continue
		case !ok:
			fault("%s %s has no span", r.class, r.id)
			continue
		case r.mustHaveTrace && root.Trace != r.trace:
			fault("%s %s was told trace %q and has %s", r.class, r.id, r.trace, root.Trace)
		case r.status != 0 && root.Attributes["http.response.status_code"] != fmt.Sprint(r.status) &&
			r.class != "left while it was worked on":
			fault("%s %s was answered with %d, its span says %s", r.class, r.id, r.status,
				root.Attributes["http.response.status_code"])
		case root.Failed != (root.Attributes["http.response.status_code"] >= "500"):
			fault("%s %s: status %s, an error: %v", r.class, r.id, root.Attributes["http.response.status_code"], root.Failed)
		}
		if r.wantsTriton {
			for _, name := range []string{"read", "inspect", "admission", "texts"} {
				if !slices.ContainsFunc(traces[root.Trace],
					func(s otlptest.Span) bool { return s.Name == name && s.Parent == root.ID }) {
					fault("%s %s has no span %s:\n%s", r.class, r.id, name, otlptest.Tree(traces[root.Trace]))
				}
			}
			switch tree := withBatches(traces, root.Trace); {
			case !slices.ContainsFunc(tree, func(s otlptest.Span) bool { return s.Service == "triton" }):
				silent++
				if !slices.ContainsFunc(tree,
					func(s otlptest.Span) bool { return strings.HasSuffix(s.Name, "/ModelInfer") && s.Service == "agiqa" }) {
					fault("%s %s was scored without a call of Triton:\n%s", r.class, r.id, otlptest.Tree(tree))
				}
			case !slices.ContainsFunc(tree, func(s otlptest.Span) bool { return s.Service == "triton" && s.Name == "compute" }):
				cut++
			}
		}
	}
	for trace := range ours {
		for line := range strings.Lines(otlptest.Tree(traces[trace])) { // Triton's own, whose parents are still on their way
			if strings.HasPrefix(line, "orphan: ") && !strings.Contains(line, "(triton)") {
				fault("trace %s has an %s", trace, line)
			}
		}
		for _, s := range traces[trace] {
			for k, v := range s.Attributes {
				if len(v) > 1024 || strings.Contains(v, "vvvvvvvv") {
					fault("span %s: attribute %s is %d bytes long: %.40s", s.Name, k, len(v), v)
				}
			}
		}
	}
	return bad, silent + cut
}
