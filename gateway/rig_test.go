package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/contract"
	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/telemetry"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// plan is what a rig is made from; tests change it.
type plan struct {
	gateway     gateway.Config
	scoring     scoring.Config
	checkpoints []string
	meaning     func(*lifecycle.Entry) // what the checkpoints' scores mean; nil: as tritontest says
	wrap        func(gateway.Scorer) gateway.Scorer
	metrics     http.Handler
	readiness   *gateway.Readiness
	changes     gateway.CheckpointChanges
	experiments gateway.Experiments
	around      func(gateway.Experiments) gateway.Experiments // of a trialRig; nil: the engine itself
	keys        gateway.Keys
	admitter    gateway.Admitter // nil: the use case itself
	pressure    func() bool
	tokens      gateway.SharedTokens
	telemetry   *telemetry.Telemetry // nil: spans and metrics are kept for the test to read
	mayBreak    bool                 // an internal error is what the test is about

	undocumented bool // the test makes the gateway answer what its document rules out
}

// rig is the whole server but its main program: router, use case, image
// preparation and Triton client are the real ones, and Triton is a gRPC server
// in this process.
type rig struct {
	t       *testing.T
	triton  *tritontest.Server
	service *scoring.Service
	gateway *gateway.Gateway
	made    string       // what the gateway's document is made from
	checked http.Handler // the gateway's, held against its document
	spans   *tracetest.SpanRecorder
	reader  *sdkmetric.ManualReader
	logs    *logBuffer
}

// Two checkpoints; the first is the default.
const (
	first  = "demo"
	second = "other"
)

func newRig(t *testing.T, edits ...func(*plan)) *rig {
	t.Helper()
	p := plan{
		gateway: gateway.Config{
			Version: "test", RequestTimeout: time.Minute, MaxBodyBytes: 1 << 20, MaxImages: 8, MaxImageBytes: 256 << 10,
			OpenScoring: true, AdminKey: adminKey,
		},
		scoring:     scoring.DefaultConfig(),
		checkpoints: []string{first, second},
		metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			_, _ = io.WriteString(w, "up 1\n")
		}),
		readiness: gateway.NewReadiness(time.Minute, time.Minute),
	}
	for _, edit := range edits {
		edit(&p)
	}
	r := &rig{t: t, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader(), logs: &logBuffer{}}
	// as telemetry.New
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans),
		sdktrace.WithSampler(sdktrace.AlwaysSample()))
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader))
	if p.telemetry != nil {
		traces, meters, p.metrics = p.telemetry.Tracer(), p.telemetry.Meter(), p.telemetry.MetricsHandler()
	}
	shelf := newShelf(p.checkpoints)
	for i := range shelf.infos {
		if p.meaning != nil {
			p.meaning(&shelf.infos[i])
		}
	}
	r.triton = tritontest.New(t, tritontest.WithCheckpoints(shelf.all()...))
	triton := r.triton.Config()
	triton.Meter = meters
	client, err := tritonclient.New(triton)
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	prep := imageprep.DefaultConfig()
	prep.MaxBytes = p.gateway.MaxImageBytes
	preparer, err := imageprep.New(prep)
	must(t, err)
	r.service, err = scoring.New(p.scoring,
		scoring.Deps{Preparer: preparer, Triton: client, Tracer: traces, Meter: meters})
	must(t, err)
	r.service.Use(newModels(t, shelf, client))
	var scorer gateway.Scorer = r.service
	if p.admitter == nil {
		p.admitter = r.service
	}
	if p.wrap != nil {
		scorer = p.wrap(scorer)
	}
	deps := gateway.Deps{
		Admitter: p.admitter, Pressure: p.pressure, Tokens: p.tokens, Experiments: p.experiments, Keys: p.keys,
		Scorer: scorer, Checkpoints: shelf, Changes: p.changes, Readiness: p.readiness, Metrics: p.metrics,
		Tracer: traces, Meter: meters,
		Logger: slog.New(telemetry.WithTraceIDs(slog.NewJSONHandler(r.logs, nil))),
	}
	r.gateway, err = gateway.New(p.gateway, deps)
	must(t, err)
	r.made = madeFrom(p.gateway, deps)
	r.checked = r.gateway.Handler()
	if !p.undocumented {
		r.checked = r.described()
	}
	if !p.mayBreak {
		t.Cleanup(r.wantNothingInternal)
	}
	return r
}

// newModels keeps embeddings in memory, as the server does.
func newModels(t *testing.T, shelf *shelf, client *tritonclient.Client) *scoring.Models {
	t.Helper()
	memory := func() *cache.Memory {
		m, err := cache.NewMemory(cache.DefaultMemoryConfig())
		must(t, err)
		return m
	}
	texts := cache.DefaultTextsConfig()
	texts.Encoder, texts.Memory = tritontest.Encoder(), memory()
	source, err := cache.NewTexts(texts, scoring.PromptEncoder{Assembler: shelf, Encoder: client})
	must(t, err)
	t.Cleanup(func() { must(t, source.Close(context.WithoutCancel(t.Context()))) })
	images := cache.DefaultImagesConfig()
	images.Encoder, images.Store = tritontest.Encoder(), memory()
	embeddings, err := cache.NewImages(images)
	must(t, err)
	return &scoring.Models{Encoder: tritontest.Encoder(), Texts: source, Prompts: source, Embeddings: embeddings}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// shelf holds checkpoints as the registry does.
type shelf struct{ infos []lifecycle.Entry }

func newShelf(names []string) *shelf {
	s := &shelf{}
	for _, name := range names {
		s.infos = append(s.infos, lifecycle.Entry{
			Checkpoint: tritontest.Checkpoint(name),
			Manifest: checkpoint.Manifest{
				ClassTokenPosition: "end", ContextLength: 16, Licence: "Apache-2.0", Training: json.RawMessage(`{"epochs": 3}`),
			},
		})
	}
	return s
}

func (s *shelf) all() []quality.Checkpoint {
	var out []quality.Checkpoint
	for _, c := range s.infos {
		out = append(out, c.Checkpoint)
	}
	return out
}

func (s *shelf) List() []lifecycle.Entry { return s.infos }

func (s *shelf) Revision() int64 { return 7 }

func (s *shelf) Begin() (lifecycle.Set, func()) { return s, func() {} }

func (s *shelf) Get(name string) (lifecycle.Entry, error) {
	if i := slices.IndexFunc(s.infos, func(c lifecycle.Entry) bool { return c.Checkpoint.Name == name }); i >= 0 {
		return s.infos[i], nil
	}
	var known []string
	for _, c := range s.infos {
		known = append(known, c.Checkpoint.Name)
	}
	return lifecycle.Entry{}, quality.NoCheckpoint([]string{name}, known)
}

func (s *shelf) Default() (lifecycle.Entry, error) {
	if len(s.infos) == 0 {
		return lifecycle.Entry{}, quality.Errorf(quality.KindCheckpointNotFound, "there is no default checkpoint; name one")
	}
	return s.infos[0], nil
}

// tokenizer is read once for all tests.
var tokenizer = sync.OnceValues(clip.New)

// PicturePrompt implements [scoring.PromptAssembler].
func (s *shelf) PicturePrompt(enc quality.Encoder, prompt string) (quality.Prompts, error) {
	tokenizer, err := tokenizer()
	if err != nil {
		return quality.Prompts{}, err
	}
	return clip.PicturePrompt(tokenizer, prompt, enc.TextWidth)
}

// Prompts implements [scoring.PromptAssembler].
func (s *shelf) Prompts(quality.Checkpoint) (quality.Prompts, error) {
	return tritontest.Prompts(tritontest.Encoder()), nil
}

// logBuffer is written by the server's goroutines and read by the test.
type logBuffer struct{ proctest.Buffer }

// lines are the records so far; each line must be one JSON object.
func (b *logBuffer) lines(t *testing.T) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(b.String()) {
		var record map[string]any
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Fatalf("log line %q is not JSON: %v", line, err)
		}
		out = append(out, record)
	}
	return out
}

// requests are the log lines of requests.
func (r *rig) requests() []map[string]any {
	r.t.Helper()
	return slices.DeleteFunc(r.logs.lines(r.t), func(l map[string]any) bool { return l["msg"] != "request" })
}

// reply is an answer with its body read.
type reply struct {
	status int
	header http.Header
	body   []byte
}

// madeFrom tells gateways apart by their configuration and by what they have at all.
// Two that are alike in both print one document.
func madeFrom(cfg gateway.Config, deps gateway.Deps) string {
	text := fmt.Sprintf("%+v", cfg)
	for _, dep := range reflect.ValueOf(deps).Fields() {
		text += fmt.Sprint(" ", dep.IsNil())
	}
	return text
}

// documents are those that the rigs' gateways print, parsed once each, by what they are
// made from and by themselves.
var documents struct {
	sync.Mutex
	madeFrom, printed map[string]*contract.Document
}

// described is the gateway's handler. Every answer that its document does not
// describe fails the test.
func (r *rig) described() http.Handler {
	r.t.Helper()
	return r.contract().Handler(r.gateway.Handler(), func(err error) { r.t.Error(err) })
}

// contract is the gateway's document.
func (r *rig) contract() *contract.Document {
	r.t.Helper()
	documents.Lock()
	defer documents.Unlock()
	if d := documents.madeFrom[r.made]; d != nil {
		return d
	}
	if documents.printed == nil {
		documents.madeFrom, documents.printed = map[string]*contract.Document{}, map[string]*contract.Document{}
	}
	data, err := r.gateway.OpenAPI()
	must(r.t, err)
	d := documents.printed[string(data)]
	if d == nil {
		d, err = contract.Parse(data)
		must(r.t, err)
		documents.printed[string(data)] = d
	}
	documents.madeFrom[r.made] = d
	return d
}

type edit func(*http.Request)

func header(name, value string) edit { return func(r *http.Request) { r.Header.Set(name, value) } }

// ask sends a request through the router.
func (r *rig) ask(method, target string, body []byte, edits ...edit) reply {
	r.t.Helper()
	req := httptest.NewRequest(method, target, bytes.NewReader(body)).WithContext(r.t.Context())
	for _, e := range edits {
		e(req)
	}
	w := httptest.NewRecorder()
	r.checked.ServeHTTP(w, req)
	return reply{w.Code, w.Header(), w.Body.Bytes()}
}

func (r *rig) post(target string, body []byte, contentType string, edits ...edit) reply {
	r.t.Helper()
	return r.ask(http.MethodPost, target, body, append([]edit{header("Content-Type", contentType)}, edits...)...)
}

func (r *rig) postJSON(target string, body any, edits ...edit) reply {
	r.t.Helper()
	data, err := json.Marshal(body)
	must(r.t, err)
	return r.post(target, data, "application/json", edits...)
}

// asAdmin sends the rig's admin key.
var asAdmin = header("Authorization", "Bearer "+adminKey)

// serve starts a real server in front of the router.
func (r *rig) serve() *httptest.Server {
	r.t.Helper()
	s := httptest.NewServer(r.checked)
	r.t.Cleanup(s.Close)
	return s
}

func readReply(t *testing.T, resp *http.Response) reply {
	t.Helper()
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	return reply{resp.StatusCode, resp.Header, body}
}

// scores reads a 200.
func (a reply) scores(t *testing.T) gateway.ScoreResponse {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("status %d, want 200: %s", a.status, a.body)
	}
	var out gateway.ScoreResponse
	if err := json.Unmarshal(a.body, &out); err != nil {
		t.Fatalf("%v in %s", err, a.body)
	}
	return out
}

// wantProblem checks everything that every problem must have, and returns it.
func (a reply) wantProblem(t *testing.T, kind quality.Kind) gateway.Problem {
	t.Helper()
	var p gateway.Problem
	dec := json.NewDecoder(bytes.NewReader(a.body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil {
		t.Fatalf("%v in %.200q (status %d)", err, a.body, a.status)
	}
	if p.Code != kind || a.status != gateway.StatusOf(kind) || p.Status != a.status {
		t.Fatalf("status %d, problem %s of status %d, want %s of %d: %s", a.status, p.Code, p.Status, kind,
			gateway.StatusOf(kind), p.Detail)
	}
	if got := a.header.Get("Content-Type"); got != "application/problem+json" {
		t.Errorf("Content-Type %q, want application/problem+json", got)
	}
	if p.Type != "urn:agiqa:problem:"+string(kind) || p.Title == "" || p.Detail == "" {
		t.Errorf("type %q, title %q, detail %q", p.Type, p.Title, p.Detail)
	}
	if p.RequestID == "" || p.RequestID != a.header.Get("X-Request-Id") {
		t.Errorf("request_id %q, header %q", p.RequestID, a.header.Get("X-Request-Id"))
	}
	if len(p.TraceID) != 32 || p.TraceID != a.header.Get("X-Trace-Id") {
		t.Errorf("trace_id %q, header %q", p.TraceID, a.header.Get("X-Trace-Id"))
	}
	after := a.header.Get("Retry-After")
	if p.Retryable != kind.Temporary() || p.Retryable != (after != "") || p.Retryable != (p.RetryAfterMS > 0) {
		t.Errorf("retryable %v, retry_after_ms %d, Retry-After %q; %s is temporary: %v", p.Retryable, p.RetryAfterMS,
			after, kind, kind.Temporary())
	}
	for _, secret := range []string{"127.0.0.1", "rpc error", "goroutine", "prompt_head_", ".go:"} {
		if strings.Contains(string(a.body), secret) {
			t.Errorf("%q in the problem: %s", secret, a.body)
		}
	}
	return p
}

// values returns what a metric has by its labels, "a=b,c=d".
func (r *rig) values(name string) map[string]int64 {
	r.t.Helper()
	return metricstest.Values(r.t, r.reader, name)
}

// gauge returns the only value of a gauge.
func (r *rig) gauge(name string) int64 {
	r.t.Helper()
	for _, value := range r.values(name) {
		return value
	}
	return -1
}

// wantGauge waits until a gauge has a value, for as long as a loaded machine may
// take.
func (r *rig) wantGauge(name string, want int64) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for r.gauge(name) != want {
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("%s is %d, want %d", name, r.gauge(name), want)
		}
	}
}

// wantNothingInternal holds for every test but those that break the server on
// purpose: whatever was sent, no request ended in an error of our own.
func (r *rig) wantNothingInternal() {
	if n := r.values("agiqa.problems")["reason=internal"]; n != 0 {
		r.t.Errorf("%d internal errors:", n)
		for _, l := range r.logs.lines(r.t) {
			if l["level"] == "ERROR" {
				r.t.Errorf("  %v", l)
			}
		}
	}
	if n := r.values("agiqa.requests.active")[""]; n != 0 {
		r.t.Errorf("agiqa.requests.active is %d at the end, want 0", n)
	}
}

// serverSpans are the roots that the gateway made.
func (r *rig) serverSpans() []sdktrace.ReadOnlySpan {
	return slices.DeleteFunc(r.spans.Ended(), func(s sdktrace.ReadOnlySpan) bool {
		return s.InstrumentationScope().Name != "github.com/agiqa/agiqa/gateway"
	})
}

func attributes(s sdktrace.ReadOnlySpan) map[string]string {
	out := map[string]string{}
	for _, kv := range s.Attributes() {
		out[string(kv.Key)] = kv.Value.String()
	}
	return out
}
