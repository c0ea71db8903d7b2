package tracelog_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/telemetry/tracelog"
)

// triton is an export in the JSON form, as an inference server sends it: ids
// in either case, a root's parent of zeros left to the reader.
const triton = `{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"triton"}}]},
"scopeSpans":[{"scope":{"name":"triton-server"},"spans":[
{"traceId":"0AF7651916CD43DD8448EB211C80319C","spanId":"00F067AA0BA902B7","parentSpanId":"0000000000000000","name":"InferRequest","kind":2,"startTimeUnixNano":"1000000","endTimeUnixNano":3000000},
{"traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"00f067aa0ba902b8","parentSpanId":"00f067aa0ba902b7","name":"compute","startTimeUnixNano":1500000,"endTimeUnixNano":"2500000",
"links":[{"traceId":"0AF7651916CD43DD8448EB211C80319D","spanId":"00F067AA0BA902B9"}]}]}]}]}`

const tritonTrace = "0af7651916cd43dd8448eb211c80319c"

func open(t *testing.T, dir string, limit int64) *tracelog.File {
	t.Helper()
	f, err := tracelog.Open(dir, limit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func listen(t *testing.T, f *tracelog.File, forward string) *tracelog.Receiver {
	t.Helper()
	r, err := tracelog.Listen(f, forward, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 10*time.Second)
		defer cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	return r
}

func send(t *testing.T, url, contentType, body string) (status int, answer string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url+"/v1/traces", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("Authorization", "Bearer test") // as OTEL_EXPORTER_OTLP_HEADERS may say
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(b)
}

// TestWhatIsSentIsRead sends by the SDK's own exporter and in Triton's form.
func TestWhatIsSentIsRead(t *testing.T) {
	dir := t.TempDir()
	r := listen(t, open(t, dir, 1<<20), "")
	exporter, err := otlptracehttp.New(t.Context(), otlptracehttp.WithEndpointURL(r.URL()+"/v1/traces"),
		otlptracehttp.WithCompression(otlptracehttp.GzipCompression))
	if err != nil {
		t.Fatal(err)
	}
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter),
		sdktrace.WithResource(resource.NewSchemaless(attribute.String("service.name", "here"))))
	ctx, root := provider.Tracer("test").Start(t.Context(), "POST /v1/score", trace.WithAttributes(
		attribute.String("text", "a"), attribute.Int("http.response.status_code", 503), attribute.Float64("f", 1.5),
		attribute.Bool("b", true), attribute.StringSlice("l", []string{"x"})))
	_, child := provider.Tracer("test").Start(ctx, "decode", trace.WithLinks(trace.Link{SpanContext: root.SpanContext()}))
	child.AddEvent("header read")
	child.End()
	root.SetStatus(codes.Error, "overloaded")
	root.End()
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if status, answer := send(t, r.URL(), "application/json", triton); status != http.StatusOK || answer != "{}" {
		t.Errorf("JSON: status %d, %q", status, answer)
	}

	id := root.SpanContext().TraceID().String()
	spans, err := tracelog.Read(dir, id)
	if err != nil || len(spans) != 2 {
		t.Fatalf("%d spans, %v", len(spans), err)
	}
	got := spans[0]
	if got.Name != "POST /v1/score" || got.Service != "here" || got.Parent != "" || got.Status.Code != 2 ||
		got.End <= got.Start || got.Kind != 1 {
		t.Errorf("root %+v", got)
	}
	values := map[string]string{}
	for _, a := range got.Attributes {
		values[a.Key] = a.Text()
	}
	for key, want := range map[string]string{"text": "a", "http.response.status_code": "503", "f": "1.5", "b": "true"} {
		if values[key] != want {
			t.Errorf("attribute %s is %q, want %q", key, values[key], want)
		}
	}
	if !strings.Contains(values["l"], "x") {
		t.Errorf("attribute l is %q", values["l"])
	}
	if c := spans[1]; c.Parent != got.ID || len(c.Events) != 1 || c.Events[0].Name != "header read" ||
		!slices.Equal(c.Links, []tracelog.Link{{Trace: got.Trace, ID: got.ID}}) {
		t.Errorf("child %+v", c)
	}

	spans, err = tracelog.Read(dir, tritonTrace[:8]) // a beginning is enough, ids are lower case
	if err != nil || len(spans) != 2 || spans[0].Parent != "" ||
		spans[1].Parent != spans[0].ID || spans[1].Start != 1500000 ||
		!slices.Equal(spans[1].Links, []tracelog.Link{{Trace: "0af7651916cd43dd8448eb211c80319d", ID: "00f067aa0ba902b9"}}) {
		t.Errorf("triton's spans %+v, %v", spans, err)
	}
	if all, err := tracelog.Read(dir, ""); err != nil || len(all) != 4 {
		t.Errorf("%d spans in all, %v", len(all), err)
	}
	sums := tracelog.Summaries(mustRead(t, dir))
	if len(sums) != 2 || sums[0].Trace != id || sums[0].Status != "503" || !sums[0].Error || sums[0].Spans != 2 ||
		sums[0].Request || sums[1].Duration != 2*time.Millisecond || !sums[1].Request {
		t.Errorf("summaries %+v", sums)
	}
}

func mustRead(t *testing.T, dir string) []tracelog.Span {
	t.Helper()
	spans, err := tracelog.Read(dir, "")
	if err != nil {
		t.Fatal(err)
	}
	return spans
}

func TestBadExportsAreRefused(t *testing.T) {
	dir := t.TempDir()
	r := listen(t, open(t, dir, 1<<20), "")
	for _, test := range []struct{ name, contentType, body string }{
		{"no JSON", "application/json", `{"resourceSpans":`},
		{"numbers for ids", "application/json", `{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":1}]}]}]}`},
		{"no protobuf", "application/x-protobuf", "\xff\xff"},
		{"another type", "text/plain", triton},
	} {
		t.Run(test.name, func(t *testing.T) {
			if status, _ := send(t, r.URL(), test.contentType, test.body); status != http.StatusBadRequest {
				t.Errorf("status %d", status)
			}
		})
	}
	if spans := mustRead(t, dir); len(spans) != 0 {
		t.Errorf("kept %+v", spans)
	}
}

// TestWhatIsKeptGoesOn has a collector behind the receiver, whose answer is
// the sender's.
func TestWhatIsKeptGoesOn(t *testing.T) {
	for _, status := range []int{http.StatusOK, http.StatusInternalServerError} {
		dir := t.TempDir()
		var got []byte
		var key string
		behind := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
			got, _ = io.ReadAll(req.Body)
			key = req.Header.Get("Authorization")
			w.WriteHeader(status)
		}))
		r := listen(t, open(t, dir, 1<<20), behind.URL)
		want := http.StatusOK
		if status != http.StatusOK {
			want = http.StatusServiceUnavailable
		}
		if answered, _ := send(t, r.URL(), "application/json", triton); answered != want {
			t.Errorf("collector answers %d: status %d, want %d", status, answered, want)
		}
		if !bytes.Equal(got, []byte(triton)) {
			t.Errorf("the collector got %q", got)
		}
		if key != "Bearer test" {
			t.Errorf("the collector got the key %q", key)
		}
		if spans := mustRead(t, dir); len(spans) != 2 {
			t.Errorf("collector answers %d: kept %d spans", status, len(spans))
		}
		behind.Close()
	}
}

func TestTheFileStaysBounded(t *testing.T) {
	dir := t.TempDir()
	const limit = 4 << 10
	f := open(t, dir, limit)
	var e tracelog.Export
	e.ResourceSpans = []tracelog.ResourceSpans{{ScopeSpans: []tracelog.ScopeSpans{{Spans: []tracelog.Span{{Trace: strings.Repeat("a", 32), Name: "x"}}}}}}
	for i := range 200 {
		e.ResourceSpans[0].ScopeSpans[0].Spans[0].ID = string(rune('a'+i%26)) + strings.Repeat("0", 15)
		if err := f.Append(e); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 2 {
		t.Fatalf("%v, %v", entries, err)
	}
	for _, entry := range entries {
		if info, err := entry.Info(); err != nil || info.Size() > limit || info.Size() == 0 {
			t.Errorf("%s has %d bytes, %v", entry.Name(), info.Size(), err)
		}
	}
	if spans := mustRead(t, dir); len(spans) != 26 { // each once
		t.Errorf("%d spans", len(spans))
	}
	// A line that was cut off, and whatever else is no export, is passed over.
	if err := os.WriteFile(filepath.Join(dir, "spans.1.jsonl"),
		[]byte(`{"resourceSpans":[{"traceId":"`), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := tracelog.Read(dir, ""); err != nil {
		t.Error(err)
	}
	if _, err := tracelog.Read(t.TempDir(), ""); !errors.Is(err, tracelog.ErrNoTraces) {
		t.Errorf("error %v", err)
	}
}

func TestDraw(t *testing.T) {
	span := func(id, parent, name string, start, end int) tracelog.Span {
		return tracelog.Span{Trace: "t", ID: id, Parent: parent, Name: name, Service: "s", Start: tracelog.Nanos(start * 1e6),
			End: tracelog.Nanos(end * 1e6)}
	}
	failed := span("c", "a", "second", 5, 10)
	failed.Status.Code = 2
	failed.Attributes = []tracelog.Attribute{{Key: "k", Value: map[string]any{"stringValue": "v\x1b[2J"}}}
	for _, test := range []struct {
		name  string
		spans []tracelog.Span
		want  string
	}{
		{"a tree", []tracelog.Span{span("a", "", "root", 0, 10), span("b", "a", "first", 0, 5), span("d", "b", "inner", 2, 3), failed}, `
trace t  10.00 ms  4 spans of s  at 1970-01-01 00:00:00.000 UTC

root               s  ▕████████████████████████▏    10.00 ms
├─ first           s  ▕████████████            ▏     5.00 ms
│  └─ inner        s  ▕    ██▍                 ▏     1.00 ms
└─ second (error)  s  ▕            ████████████▏     5.00 ms
     k = v�[2J
`},
		{"an orphan, and a clock behind", []tracelog.Span{span("a", "", "root", 0, 10), span("x", "gone", "orphan", 4, 3)}, `
trace t  10.00 ms  2 spans of s  at 1970-01-01 00:00:00.000 UTC

root    s  ▕███████████████████████████████████▏    10.00 ms
orphan  s  ▕              ▏                    ▏     0.00 ms
`},
		{"a ring", []tracelog.Span{span("a", "b", "one", 0, 1), span("b", "a", "two", 0, 1)}, `
trace t  1.00 ms  2 spans of s  at 1970-01-01 00:00:00.000 UTC

one     s  ▕███████████████████████████████████▏     1.00 ms
└─ two  s  ▕███████████████████████████████████▏     1.00 ms
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out strings.Builder
			if err := tracelog.Draw(&out, test.spans, tracelog.Options{Width: 60, Attributes: true}); err != nil {
				t.Fatal(err)
			}
			if got := "\n" + out.String(); got != test.want {
				t.Errorf("drew\n%s\nwant\n%s", got, test.want)
			}
		})
	}
}

func FuzzExports(f *testing.F) {
	f.Add([]byte(triton))
	f.Add([]byte(`{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"","startTimeUnixNano":"-1"}]}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		dir := t.TempDir()
		file, err := tracelog.Open(dir, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		export, err := tracelog.ParseJSON(body)
		if err != nil {
			return
		}
		if err := file.Append(export); err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		spans, err := tracelog.Read(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range spans {
			if err := tracelog.Draw(io.Discard, []tracelog.Span{s}, tracelog.Options{}); err != nil {
				t.Fatal(err)
			}
		}
		tracelog.Summaries(spans)
	})
}
