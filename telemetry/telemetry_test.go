package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/agiqa/agiqa/internal/otlptest"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/telemetry"
)

// exporter is an exporter whose outcome the test decides.
type exporter struct {
	export func(ctx context.Context, n int) error

	mu    sync.Mutex
	spans int // in exports that succeeded
}

func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	if e.export != nil {
		if err := e.export(ctx, len(spans)); err != nil {
			return err
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.spans += len(spans)
	return nil
}

func (e *exporter) Shutdown(context.Context) error { return nil }

func (e *exporter) exported() int {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.spans
}

func newTelemetry(t *testing.T, cfg telemetry.Config, e sdktrace.SpanExporter) *telemetry.Telemetry {
	t.Helper()
	tel, err := telemetry.New(t.Context(), cfg, e)
	if err != nil {
		t.Fatalf("New: %v", err)
	}
	return tel
}

// end makes and ends n spans.
func end(ctx context.Context, tel *telemetry.Telemetry, n int) {
	tracer := tel.Tracer().Tracer("test")
	for i := range n {
		_, span := tracer.Start(ctx, fmt.Sprint("span ", i))
		span.End()
	}
}

func scrape(t *testing.T, tel *telemetry.Telemetry) (body, contentType string) {
	t.Helper()
	w := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	if w.Code != http.StatusOK {
		t.Fatalf("/metrics answers %d: %s", w.Code, w.Body)
	}
	return w.Body.String(), w.Header().Get("Content-Type")
}

var queuedLine = regexp.MustCompile(`(?m)^agiqa_spans_queued(?:\{[^}]*\})? (\d+)$`)

var spansLine = regexp.MustCompile(`(?m)^agiqa_spans_total\{[^}]*outcome="(\w+)"[^}]*\} (\d+)$`)

// outcomes are the values of agiqa.spans and agiqa.spans.queued.
func outcomes(t *testing.T, tel *telemetry.Telemetry) map[string]int {
	t.Helper()
	body, _ := scrape(t, tel)
	out := map[string]int{}
	for _, m := range spansLine.FindAllStringSubmatch(body, -1) {
		n, err := strconv.Atoi(m[2])
		if err != nil {
			t.Fatal(err)
		}
		out[m[1]] = n
	}
	if m := queuedLine.FindStringSubmatch(body); m != nil {
		n, err := strconv.Atoi(m[1])
		if err != nil {
			t.Fatal(err)
		}
		out["queued"] = n
	}
	return out
}

// wantOutcomes also checks that the counts add up.
func wantOutcomes(t *testing.T, tel *telemetry.Telemetry, ended, exported, failed, dropped int) {
	t.Helper()
	want := map[string]int{"ended": ended, "exported": exported, "failed": failed, "dropped": dropped,
		"queued": ended - exported - failed - dropped}
	if got := outcomes(t, tel); !maps.Equal(got, want) {
		t.Errorf("spans are %v, want %v", got, want)
	}
}

func flush(t *testing.T, tel *telemetry.Telemetry) {
	t.Helper()
	_ = tel.Tracer().ForceFlush(t.Context()) // an exporter that fails is what some tests want
}

// TestNoSpanOfABurstIsLost: the SDK's own queue would lose most of these.
func TestNoSpanOfABurstIsLost(t *testing.T) {
	const burst = 20_000
	e := &exporter{}
	tel := newTelemetry(t, telemetry.DefaultConfig(), e)
	end(t.Context(), tel, burst)
	flush(t, tel)
	if got := e.exported(); got != burst {
		t.Errorf("%d spans arrived, want %d", got, burst)
	}
	wantOutcomes(t, tel, burst, burst, 0, 0)
	if err := tel.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// TestDropsAreWhatIsMissing: the exporter is stuck with a batch of 2, and 4
// more fit into the queue. The rest is dropped, and counted.
func TestDropsAreWhatIsMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		entered, release := make(chan struct{}, 16), make(chan struct{})
		e := &exporter{export: func(ctx context.Context, _ int) error {
			entered <- struct{}{}
			<-release
			return nil
		}}
		cfg := telemetry.DefaultConfig()
		cfg.QueueSize, cfg.BatchSize = 4, 2
		tel := newTelemetry(t, cfg, e)
		end(t.Context(), tel, 2)
		<-entered
		end(t.Context(), tel, 10)
		wantOutcomes(t, tel, 12, 0, 0, 6)
		close(release)
		flush(t, tel)
		wantOutcomes(t, tel, 12, 6, 0, 6)
		if got := e.exported(); got != 6 {
			t.Errorf("%d spans arrived, want 6", got)
		}
		if err := tel.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// TestFailedExportsAreCounted, and logged once for each outage.
func TestFailedExportsAreCounted(t *testing.T) {
	var log bytes.Buffer
	fail := true
	e := &exporter{export: func(context.Context, int) error {
		if fail {
			return errors.New("the collector says no")
		}
		return nil
	}}
	cfg := telemetry.DefaultConfig()
	cfg.BatchDelay = time.Hour // exports happen when the test flushes, one at a time
	cfg.ExportTimeout = time.Millisecond
	cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil))
	tel := newTelemetry(t, cfg, e)
	for i, step := range []struct {
		fail                    bool
		ended, exported, failed int
		warnings, recoveries    int
	}{{true, 3, 0, 3, 1, 0}, {true, 6, 0, 6, 1, 0}, {false, 9, 3, 6, 1, 1},
		{false, 12, 6, 6, 1, 1}, {true, 15, 6, 9, 2, 1}} {
		fail = step.fail
		end(t.Context(), tel, 3)
		flush(t, tel)
		wantOutcomes(t, tel, step.ended, step.exported, step.failed, 0)
		warnings, recoveries := strings.Count(log.String(), "exporting spans fails"),
			strings.Count(log.String(), "exporting spans works again")
		if warnings != step.warnings || recoveries != step.recoveries {
			t.Errorf("step %d: %d warnings and %d recoveries, want %d and %d", i, warnings, recoveries,
				step.warnings, step.recoveries)
		}
	}
}

// TestEverySpanIsRecorded, whatever a remote parent decided.
func TestEverySpanIsRecorded(t *testing.T) {
	tel := newTelemetry(t, telemetry.DefaultConfig(), &exporter{})
	carrier := map[string][]string{"Traceparent": {"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"}}
	ctx := telemetry.SampledOnly().Extract(t.Context(), httpCarrier(carrier))
	_, span := tel.Tracer().Tracer("test").Start(ctx, "work")
	span.End()
	if !span.SpanContext().IsSampled() {
		t.Error("a span below an unsampled parent is not recorded")
	}
	flush(t, tel)
	wantOutcomes(t, tel, 1, 1, 0, 0)
}

type httpCarrier http.Header

func (c httpCarrier) Get(key string) string { return http.Header(c).Get(key) }
func (c httpCarrier) Set(key, value string) { http.Header(c).Set(key, value) }
func (c httpCarrier) Keys() []string        { return nil }

// TestSpansArriveAtACollector over OTLP/HTTP, under a base URL with and
// without a slash at its end.
func TestSpansArriveAtACollector(t *testing.T) {
	for _, slash := range []string{"", "/"} {
		collector := otlptest.Start(t)
		cfg := telemetry.DefaultConfig()
		cfg.Endpoint, cfg.ServiceVersion = collector.URL()+slash, "1.2.3"
		tel := newTelemetry(t, cfg, nil)
		_, span := tel.Tracer().Tracer("test").Start(t.Context(), "work")
		span.End()
		if err := tel.Close(t.Context()); err != nil {
			t.Errorf("Close: %v", err)
		}
		spans := collector.Trace(span.SpanContext().TraceID().String())
		if len(spans) != 1 || spans[0].Name != "work" || spans[0].Service != "agiqa" {
			t.Errorf("after Close the collector has %+v", spans)
		}
	}
}

// TestOpenTelemetryVariables: the name of the service, attributes and headers
// come from the variables that every SDK reads.
func TestOpenTelemetryVariables(t *testing.T) {
	for _, tc := range []struct{ name, variable, value, service, logged string }{
		{"name", "OTEL_SERVICE_NAME", "photos", "photos", ""},
		{"attributes", "OTEL_RESOURCE_ATTRIBUTES", "service.name=photos,deployment.environment.name=test", "photos", ""},
		{"broken attributes", "OTEL_RESOURCE_ATTRIBUTES", "nonsense", "agiqa", "OTEL_RESOURCE_ATTRIBUTES"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv(tc.variable, tc.value)
			t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k1")
			collector := otlptest.Start(t)
			var key atomic.Value
			front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
				key.Store(req.Header.Get("api-key"))
				http.Redirect(w, req, collector.URL()+req.URL.Path, http.StatusTemporaryRedirect)
			}))
			defer front.Close()
			var log proctest.Buffer
			cfg := telemetry.DefaultConfig()
			cfg.Endpoint, cfg.Logger = front.URL, slog.New(slog.NewTextHandler(&log, nil))
			tel := newTelemetry(t, cfg, nil)
			_, span := tel.Tracer().Tracer("test").Start(t.Context(), "work")
			span.End()
			if err := tel.Close(t.Context()); err != nil {
				t.Errorf("Close: %v", err)
			}
			spans := collector.Trace(span.SpanContext().TraceID().String())
			if len(spans) != 1 || spans[0].Service != tc.service {
				t.Errorf("the collector has %+v, want service %s", spans, tc.service)
			}
			if key.Load() != "k1" {
				t.Errorf("the header is %v", key.Load())
			}
			if !strings.Contains(log.String(), tc.logged) || tc.logged == "" && log.String() != "" {
				t.Errorf("log is %q, want %q", log.String(), tc.logged)
			}
		})
	}
}

// TestNobodyListens: New does not wait for a collector, ending spans does not,
// and Close gives up within its limit.
func TestNobodyListens(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0") // accepts in the kernel, never answers
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	refused := proctest.Loopback(proctest.FreePort(t))
	for name, addr := range map[string]string{"refused": refused, "silent": silent.Addr().String()} {
		t.Run(name, func(t *testing.T) {
			const generous = 10 * time.Second
			cfg := telemetry.DefaultConfig()
			cfg.Endpoint, cfg.ShutdownLimit = "http://"+addr, 100*time.Millisecond
			log := &proctest.Buffer{}
			cfg.Logger = slog.New(slog.NewJSONHandler(log, nil))
			start := time.Now()
			tel := newTelemetry(t, cfg, nil)
			end(t.Context(), tel, 100)
			if took := time.Since(start); took > generous {
				t.Errorf("New and 100 spans took %v", took)
			}
			start = time.Now()
			if err := tel.Close(t.Context()); err != nil {
				t.Errorf("Close: %v, want nil: a program may stop without a collector", err)
			}
			if !strings.Contains(log.String(), "some spans were not exported") ||
				!strings.Contains(log.String(), `"ended":100,"exported":0`) {
				t.Errorf("the log does not say what was lost: %s", log.String())
			}
			if took := time.Since(start); took > generous {
				t.Errorf("Close took %v, limit %v", took, cfg.ShutdownLimit)
			}
		})
	}
}

// TestCloseIsBounded on a clock of its own, against an exporter that hangs.
func TestCloseIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		cfg := telemetry.DefaultConfig()
		cfg.ExportTimeout = time.Hour
		cfg.Logger = slog.New(slog.NewJSONHandler(&log, nil))
		tel := newTelemetry(t, cfg, &exporter{export: func(ctx context.Context, _ int) error {
			<-ctx.Done()
			return ctx.Err()
		}})
		end(t.Context(), tel, 10)
		start := time.Now()
		if err := tel.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
		if took := time.Since(start); took != cfg.ShutdownLimit {
			t.Errorf("Close took %v, want %v", took, cfg.ShutdownLimit)
		}
		if !strings.Contains(log.String(), `"ended":10,"exported":0,"failed":10,"dropped":0`) {
			t.Errorf("the log does not say what was lost: %s", log.String())
		}
	})
}

// TestWithoutEndpoint: spans are made for their ids and go nowhere.
func TestWithoutEndpoint(t *testing.T) {
	tel := newTelemetry(t, telemetry.DefaultConfig(), nil)
	_, span := tel.Tracer().Tracer("test").Start(t.Context(), "work")
	span.End()
	if !span.SpanContext().IsValid() {
		t.Error("the span has no ids")
	}
	if got := outcomes(t, tel); len(got) != 0 {
		t.Errorf("agiqa.spans is %v although nothing is exported", got)
	}
	if err := tel.Close(t.Context()); err != nil {
		t.Errorf("Close: %v", err)
	}
}

func TestMetricsHandler(t *testing.T) {
	tel := newTelemetry(t, telemetry.DefaultConfig(), nil)
	counter, err := tel.Meter().Meter("test").Int64Counter("agiqa.things")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)
	body, contentType := scrape(t, tel)
	for _, want := range []string{"agiqa_things_total 3\n", "go_goroutine_count", "go_schedule_duration_seconds_bucket",
		"process_open_fds", "process_resident_memory_bytes", `service_name="agiqa"`} {
		if !strings.Contains(body, want) {
			t.Errorf("no %q in the metrics:\n%s", want, body)
		}
	}
	if !strings.HasPrefix(contentType, "text/plain") {
		t.Errorf("Content-Type %q, want text/plain", contentType)
	}
}

// TestExemplarsLeadToTraces: what OpenMetrics is asked for, a bucket names a
// trace that was recorded; one that was not is never named.
func TestExemplarsLeadToTraces(t *testing.T) {
	for _, test := range []struct {
		name    string
		sampled bool
		accept  string
		want    bool
	}{
		{"a recorded trace", true, "application/openmetrics-text; version=1.0.0", true},
		{"no trace", false, "application/openmetrics-text; version=1.0.0", false},
		{"the old format has none", true, "text/plain", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			tel := newTelemetry(t, telemetry.DefaultConfig(), &exporter{})
			histogram, err := tel.Meter().Meter("test").Float64Histogram("agiqa.took", metric.WithUnit("s"),
				metric.WithExplicitBucketBoundaries(1, 2))
			if err != nil {
				t.Fatal(err)
			}
			ctx, id := t.Context(), "none"
			if test.sampled {
				spanCtx, span := tel.Tracer().Tracer("test").Start(ctx, "work")
				defer span.End()
				ctx, id = spanCtx, span.SpanContext().TraceID().String()
			}
			histogram.Record(ctx, 1.5)
			w := httptest.NewRecorder()
			r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
			r.Header.Set("Accept", test.accept)
			tel.MetricsHandler().ServeHTTP(w, r)
			found := false
			for line := range strings.Lines(w.Body.String()) {
				bucket, exemplar, ok := strings.Cut(line, " # ")
				if ok && strings.HasPrefix(bucket, "agiqa_took_seconds_bucket") {
					found = strings.Contains(bucket, `le="2`) && strings.Contains(exemplar, `trace_id="`+id+`"`) &&
						strings.Contains(exemplar, "} 1.5")
					if !found {
						t.Errorf("exemplar %q, want 1.5 and trace %s in the bucket up to 2", line, id)
					}
				}
			}
			if found != test.want {
				t.Errorf("exemplar found: %v, want %v in\n%s", found, test.want, w.Body)
			}
		})
	}
}

func TestConfigValidate(t *testing.T) {
	if err := telemetry.DefaultConfig().Validate(); err != nil {
		t.Errorf("the default: %v", err)
	}
	err := telemetry.Config{Endpoint: "127.0.0.1:4318"}.Validate()
	if err == nil {
		t.Fatal("an empty configuration is taken")
	}
	for _, field := range []string{"Endpoint", "BatchSize", "QueueSize", "BatchDelay", "ExportTimeout",
		"ShutdownLimit", "SampleRatio", "Logger"} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("error %q does not name %s", err, field)
		}
	}
	for _, endpoint := range []string{"collector:4318", "grpc://collector:4317", "http://",
		"/v1/traces", "http://a b/", "\x7f"} {
		cfg := telemetry.DefaultConfig()
		cfg.Endpoint = endpoint
		if _, err := telemetry.New(t.Context(), cfg, nil); err == nil {
			t.Errorf("Endpoint %q is taken", endpoint)
		}
	}
	cfg := telemetry.DefaultConfig()
	cfg.BatchSize = cfg.QueueSize + 1
	if err := cfg.Validate(); err == nil {
		t.Error("a batch larger than the queue is taken")
	}
}
