package gateway_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

var uuid7 = regexp.MustCompile(`^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$`)

func TestRequestIDs(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{"a", "job-7_x.y:1", strings.Repeat("a", 64)} {
		if got := r.ask(http.MethodGet, "/healthz", nil, header("X-Request-ID", id)).header.Get("X-Request-Id"); got != id {
			t.Errorf("id %q came back as %q", id, got)
		}
	}
	for _, id := range []string{"", " ", "a\r\nX-Evil: 1", "a\nb", "a b", "\x1b[31m", "ü", strings.Repeat("a", 65),
		strings.Repeat("a", 1<<20), `"`, "a\x00"} {
		answer := r.ask(http.MethodGet, "/healthz", nil,
			func(req *http.Request) { req.Header["X-Request-Id"] = []string{id} })
		if got := answer.header.Get("X-Request-Id"); !uuid7.MatchString(got) {
			t.Errorf("id %.20q came back as %.80q, want a fresh one", id, got)
		}
		if answer.header.Get("X-Evil") != "" {
			t.Errorf("id %.20q made a header", id)
		}
	}
}

const (
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	sampled      = "00-" + callersTrace + "-b7ad6b7169203331-01"
	unsampled    = "00-" + callersTrace + "-b7ad6b7169203331-00"
)

const everybody = "0.0.0.0/0" // requests of tests come from 192.0.2.1

func TestIncomingTraces(t *testing.T) {
	for _, test := range []struct {
		name, traceparent   string
		trust               string
		continued, linked   bool
		tracestate, baggage string
	}{
		{name: "none"},
		{name: "sampled", traceparent: sampled, linked: true},
		{name: "unsampled", traceparent: unsampled, linked: true},
		{name: "trusted, sampled", traceparent: sampled, trust: everybody, continued: true},
		{name: "trusted, unsampled", traceparent: unsampled, trust: everybody, continued: true},
		{name: "of a trusted network", traceparent: unsampled, trust: "192.0.2.0/24", continued: true},
		{name: "of another network", traceparent: sampled, trust: "10.0.0.0/8", linked: true},
		{name: "tracestate of a stranger", traceparent: sampled, linked: true, tracestate: "a=b"},
		{name: "tracestate of a trusted peer", traceparent: sampled, trust: everybody, continued: true, tracestate: "a=b"},
		{name: "zero trace id", traceparent: "00-00000000000000000000000000000000-b7ad6b7169203331-01"},
		{name: "zero span id", traceparent: "00-" + callersTrace + "-0000000000000000-01", trust: everybody},
		{name: "not one", traceparent: "00-\x1b[31m-x", trust: everybody},
		{name: "upper case", traceparent: strings.ToUpper(sampled)},
		{name: "version ff", traceparent: "ff" + sampled[2:], trust: everybody},
		{name: "1 MB", traceparent: strings.Repeat("0", 1<<20)},
		{name: "odd tracestate and baggage", traceparent: sampled, linked: true, tracestate: strings.Repeat("a=b,", 3000),
			baggage: strings.Repeat("k=v,", 2000)},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t, func(p *plan) {
				if test.trust != "" {
					p.gateway.TrustedPeers = []netip.Prefix{netip.MustParsePrefix(test.trust)}
				}
			})
			answer := r.post("/v1/score", testimages.PNG(8, 8), "image/png",
				header("traceparent", test.traceparent), header("tracestate", test.tracestate), header("baggage", test.baggage))
			answer.scores(t)
			spans := r.serverSpans()
			if len(spans) != 1 {
				t.Fatalf("%d server spans, want 1", len(spans))
			}
			span := spans[0]
			trace := span.SpanContext().TraceID().String()
			if !span.SpanContext().IsSampled() || trace != answer.header.Get("X-Trace-Id") {
				t.Errorf("sampled %v, trace %s, header %s", span.SpanContext().IsSampled(), trace, answer.header.Get("X-Trace-Id"))
			}
			if got := trace == callersTrace; got != test.continued {
				t.Errorf("continues the caller's trace: %v, want %v", got, test.continued)
			}
			if got := span.Parent().IsValid(); got != test.continued {
				t.Errorf("has a parent: %v, want %v", got, test.continued)
			}
			for _, l := range span.Links() {
				if l.SpanContext.TraceState().Len() > 0 {
					t.Errorf("the link carries the stranger's %s", l.SpanContext.TraceState())
				}
			}
			linked := len(span.Links()) == 1 && span.Links()[0].SpanContext.TraceID().String() == callersTrace
			if linked != test.linked {
				t.Errorf("linked to the caller: %v, want %v (%v)", linked, test.linked, span.Links())
			}
		})
	}
}

func TestSpansOfARequest(t *testing.T) {
	r := newRig(t)
	answer := r.post("/v1/score?checkpoint=demo", testimages.PNG(8, 8), "image/png", header("X-Request-ID", "mine"))
	answer.scores(t)
	server := r.serverSpans()[0]
	if server.Name() != "POST /v1/score" || server.SpanKind() != trace.SpanKindServer ||
		server.Status().Code != codes.Unset {
		t.Errorf("span %q of kind %v, status %v", server.Name(), server.SpanKind(), server.Status())
	}
	want := map[string]string{
		"client.address": "192.0.2.1", "http.request.method": "POST", "http.route": "/v1/score",
		"url.path": "/v1/score", "url.scheme": "http",
		"network.protocol.version": "1.1", "http.response.status_code": "200", "agiqa.request.id": "mine",
	}
	if diff := cmp.Diff(want, attributes(server)); diff != "" {
		t.Errorf("attributes (-want +got):\n%s", diff)
	}
	names := map[string]bool{}
	for _, s := range r.spans.Ended() {
		if s.SpanContext().TraceID() != server.SpanContext().TraceID() {
			t.Errorf("span %s is in another trace", s.Name())
		}
		names[s.Name()] = true
	}
	for _, stage := range []scoring.Stage{scoring.StageAdmission, scoring.StageLookup, scoring.StageTexts,
		scoring.StagePrepare, scoring.StageEnsemble} {
		if !names[string(stage)] {
			t.Errorf("no span of stage %s in %v", stage, names)
		}
	}
}

// TestSpanStatus: a client's fault is no error of this server.
func TestSpanStatus(t *testing.T) {
	file := testimages.PNG(8, 8)
	for _, test := range []struct {
		name string
		ask  func(r *rig)
		code codes.Code
		kind quality.Kind
	}{
		{"415", func(r *rig) { r.post("/v1/score", []byte("x"), "image/png") }, codes.Unset,
			quality.KindUnsupportedImageFormat},
		{"404", func(r *rig) { r.ask(http.MethodGet, "/x", nil) }, codes.Unset, quality.KindNotFound},
		{"400 of huma", func(r *rig) { r.post("/v1/score?include=x", file, "image/png") },
			codes.Unset, quality.KindBadRequest},
		{"503", func(r *rig) { r.service.Use(nil); r.post("/v1/score", file, "image/png") }, codes.Error,
			quality.KindModelUnavailable},
		{"503 draining", func(r *rig) { r.gateway.Drain(); r.post("/v1/score", file, "image/png") },
			codes.Error, quality.KindDraining},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := newRig(t)
			test.ask(r)
			span := r.serverSpans()[0]
			if span.Status().Code != test.code || attributes(span)["error.type"] != string(test.kind) {
				t.Errorf("status %v, error.type %s; want %v, %s", span.Status(),
					attributes(span)["error.type"], test.code, test.kind)
			}
		})
	}
}

// TestAttributesAreSmallText: a long one costs the collector, and one that is
// not UTF-8 loses the whole batch it is exported in.
func TestAttributesAreSmallText(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/" + strings.Repeat("a", 60_000), "/%ff%fe", "/" + strings.Repeat("%c3%a9", 200),
		"/a%0a%1b%5b31m", "/v1/checkpoints/" + strings.Repeat("%f0%9f%98%80", 5000)} {
		r.ask("BREW\t"[:4], path, nil)
	}
	r.post("/v1/score", []byte(`{"images":[{"id":"`+strings.Repeat("a", 5000)+`"}]}`), "application/json",
		header("X-Request-ID", strings.Repeat("x", 5000)))
	r.post("/v1/score", testimages.PNG(8, 8), "image/png", header("traceparent", sampled),
		header("User-Agent", strings.Repeat("u", 5000)))
	n := 0
	for _, s := range r.spans.Ended() {
		for k, v := range attributes(s) {
			n++
			if len(v) > 1024 || strings.ToValidUTF8(v, "") != v {
				t.Errorf("span %s: attribute %s is %d bytes, valid %v", s.Name(), k, len(v), strings.ToValidUTF8(v, "") == v)
			}
		}
		if len(s.Name()) > 128 {
			t.Errorf("span name of %d bytes", len(s.Name()))
		}
	}
	if n == 0 {
		t.Error("no attribute was seen")
	}
}

func TestRequestMetrics(t *testing.T) {
	r := newRig(t)
	file := testimages.PNG(8, 8)
	for range 3 {
		r.post("/v1/score", file, "image/png").scores(t)
	}
	r.post("/v1/score", []byte("x"), "image/png")
	r.ask(http.MethodGet, "/v1/checkpoints/nobody", nil)
	r.ask(http.MethodGet, "/healthz", nil)
	want := map[string]int64{
		"method=POST,route=/v1/score,status=200":            3,
		"method=POST,route=/v1/score,status=415":            1,
		"method=GET,route=/v1/checkpoints/:name,status=404": 1,
		"method=GET,route=/healthz,status=200":              1,
	}
	if diff := cmp.Diff(want, r.values("agiqa.request.duration")); diff != "" {
		t.Errorf("agiqa.request.duration (-want +got):\n%s", diff)
	}
	problems := map[string]int64{"reason=unsupported_image_format": 1, "reason=checkpoint_not_found": 1}
	if diff := cmp.Diff(problems, r.values("agiqa.problems")); diff != "" {
		t.Errorf("agiqa.problems (-want +got):\n%s", diff)
	}
}

// TestActiveRequests: the gauge is 1 while a request is worked on.
func TestActiveRequests(t *testing.T) {
	r := newRig(t)
	c := tritontest.Checkpoint(first)
	release := r.triton.Hold(c.EnsembleModel())
	defer release()
	done := make(chan reply)
	go func() { done <- r.post("/v1/score", testimages.PNG(8, 8), "image/png") }()
	r.triton.WaitCalls(c.EnsembleModel(), 1)
	if got := r.values("agiqa.requests.active")[""]; got != 1 {
		t.Errorf("agiqa.requests.active is %d, want 1", got)
	}
	release()
	(<-done).scores(t)
	if got := r.values("agiqa.requests.active")[""]; got != 0 {
		t.Errorf("agiqa.requests.active is %d afterwards, want 0", got)
	}
}

// TestLabelsAreFinite: no stranger can make a new time series.
func TestLabelsAreFinite(t *testing.T) {
	r := newRig(t)
	for i := range 50 {
		r.ask(fmt.Sprintf("METHOD%d", i), "/", nil)
		r.ask(http.MethodGet, fmt.Sprintf("/path/%d", i), nil)
		r.ask(http.MethodDelete, fmt.Sprintf("/v1/checkpoints/%d", i), nil)
		r.ask(http.MethodGet, fmt.Sprintf("/v1/checkpoints/%d", i), nil)
		r.post(fmt.Sprintf("/v1/score?checkpoint=c%d", i), []byte("x"), fmt.Sprintf("image/x-%d", i))
	}
	want := map[string]int64{
		"method=_OTHER,route=unmatched,status=405":             50,
		"method=GET,route=unmatched,status=404":                50,
		"method=DELETE,route=/v1/checkpoints/:name,status=401": 50,
		"method=GET,route=/v1/checkpoints/:name,status=404":    50,
		"method=POST,route=/v1/score,status=404":               50,
	}
	if diff := cmp.Diff(want, r.values("agiqa.request.duration")); diff != "" {
		t.Errorf("agiqa.request.duration (-want +got):\n%s", diff)
	}
	names := map[string]bool{}
	for _, s := range r.serverSpans() {
		names[s.Name()] = true
	}
	if len(names) != len(want) {
		t.Errorf("span names %v, want %d of them", names, len(want))
	}
}

// TestLogInjection: a record stays one line, and nothing in it is a control
// sequence.
func TestLogInjection(t *testing.T) {
	r := newRig(t)
	evil := "x\n{\"level\":\"ERROR\",\"msg\":\"forged\"}\r\n\x1b[31m"
	r.ask(http.MethodGet, "/v1/checkpoints/"+escape(evil), nil, header("X-Request-ID", evil), header("User-Agent", evil))
	r.post("/v1/score", []byte(`{"`+strings.ReplaceAll(escape(evil), "%", `\u00`)+`":1,"images":[{"data":"eA=="}]}`),
		"application/json")
	r.post("/v1/score", []byte(`{"images":[{"id":"a","id":"b"}],"`+strings.Repeat("n", 20_000)+`":`), "application/json")
	lines := r.logs.lines(t)
	if len(lines) != 3 {
		t.Errorf("%d log lines, want 3: %v", len(lines), lines)
	}
	for _, l := range lines {
		if l["msg"] != "request" || l["level"] != "INFO" || l["code"] == nil ||
			l["trace_id"] == nil || l["request_id"] == nil {
			t.Errorf("record %v", l)
		}
		if s, _ := l["error"].(string); len(s) > 1100 {
			t.Errorf("error of %d bytes in the log", len(s))
		}
	}
	if strings.ContainsAny(r.logs.String(), "\x1b\r") {
		t.Error("a control character is in the log as it came")
	}
}

func TestOneLogLineForARequest(t *testing.T) {
	r := newRig(t)
	answer := r.post("/v1/score", testimages.PNG(8, 8), "image/png")
	lines := r.requests()
	if len(lines) != 1 {
		t.Fatalf("%d lines, want 1: %v", len(lines), lines)
	}
	l := lines[0]
	for key, want := range map[string]any{
		"method": "POST", "route": "/v1/score", "status": 200.0, "level": "INFO", "bytes": float64(len(answer.body)),
		"request_id": answer.header.Get("X-Request-Id"), "trace_id": answer.header.Get("X-Trace-Id"),
	} {
		if l[key] != want {
			t.Errorf("%s is %v, want %v", key, l[key], want)
		}
	}
}

// panicking is a use case with a bug.
type panicking struct {
	gateway.Scorer
	value any
}

func (p panicking) Score(context.Context, scoring.Request) (scoring.Response, error) { panic(p.value) }

func TestPanic(t *testing.T) {
	for name, value := range map[string]any{
		"text": "a plain string", "error": errors.New("an error"), "of the runtime": func() (v any) {
			defer func() { v = recover() }()
			var none []int
			return none[0]
		}(),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(p *plan) {
				p.mayBreak = true
				p.wrap = func(s gateway.Scorer) gateway.Scorer { return panicking{s, value} }
			})
			answer := r.post("/v1/score", testimages.PNG(8, 8), "image/png")
			answer.wantProblem(t, quality.KindInternal)
			if bytes.Contains(answer.body, []byte(fmt.Sprint(value))) {
				t.Errorf("the value of the panic is shown: %s", answer.body)
			}
			wantPanicReported(t, r, fmt.Sprint(value), "500")
			r.ask(http.MethodGet, "/healthz", nil)
			if got := r.values("agiqa.request.duration")["method=GET,route=/healthz,status=200"]; got != 1 {
				t.Error("the next request was not answered")
			}
		})
	}
}

// wantPanicReported: a panic is one internal error in the metrics, an error in
// the span, a stack in the log, and leaves nothing active.
func wantPanicReported(t *testing.T, r *rig, value, status string) {
	t.Helper()
	if got := r.values("agiqa.problems")["reason=internal"]; got != 1 {
		t.Errorf("agiqa.problems has %d internal, want 1", got)
	}
	if got := r.values("agiqa.requests.active")[""]; got != 0 {
		t.Errorf("agiqa.requests.active is %d, want 0", got)
	}
	span := r.serverSpans()[0]
	if span.Status().Code != codes.Error || attributes(span)["error.type"] != "internal" ||
		attributes(span)["http.response.status_code"] != status {
		t.Errorf("span status %v, attributes %v", span.Status(), attributes(span))
	}
	var stacks, requests int
	for _, l := range r.logs.lines(t) {
		if l["msg"] == "panic" && strings.Contains(fmt.Sprint(l["value"]), value) &&
			strings.Contains(fmt.Sprint(l["stack"]), "edge_test.go") {
			stacks++
		}
		if l["msg"] == "request" && l["level"] == "ERROR" && l["code"] == "internal" {
			requests++
		}
	}
	if stacks != 1 || requests != 1 {
		t.Errorf("%d stacks and %d request lines in the log, want 1 and 1", stacks, requests)
	}
}

// TestPanicAfterTheAnswerBegan: the status is out, so the connection is cut.
func TestPanicAfterTheAnswerBegan(t *testing.T) {
	for name, value := range map[string]any{"text": "a plain string", "error": errors.New("an error"),
		"abort": http.ErrAbortHandler} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, func(p *plan) {
				p.mayBreak = true
				p.metrics = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
					_, _ = io.WriteString(w, "half an answer")
					w.(http.Flusher).Flush()
					panic(value)
				})
			})
			s := httptest.NewServer(r.checked)
			resp, err := s.Client().Get(s.URL + "/metrics")
			must(t, err)
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("the answer %q looks whole", body)
			}
			s.Close() // waits for the handler
			if value == http.ErrAbortHandler {
				if got := r.values("agiqa.requests.active")[""]; got != 0 {
					t.Errorf("agiqa.requests.active is %d, want 0", got)
				}
				if len(r.serverSpans()) != 1 || len(r.requests()) != 1 {
					t.Errorf("%d spans, %d log lines, want 1 and 1", len(r.serverSpans()), len(r.requests()))
				}
				return
			}
			wantPanicReported(t, r, fmt.Sprint(value), "200")
		})
	}
}
