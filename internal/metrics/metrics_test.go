package metrics_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
)

func TestPageHasNotDrifted(t *testing.T) {
	t.Parallel()
	committed, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(committed), metrics.Reference()); diff != "" {
		t.Errorf("docs/metrics.md differs; run make generate\n(-committed +generated)\n%s", diff)
	}
}

// TestDeclarations: a metric is declared once and whole, and of the labels only
// outcome and reason say how something ended.
func TestDeclarations(t *testing.T) {
	t.Parallel()
	replaced := []string{"result", "status", "standing", "code", "why", "at"}
	names := map[string]bool{}
	for _, m := range metrics.All() {
		if names[m.Family()] {
			t.Errorf("%s is declared twice", m.Name)
		}
		names[m.Family()] = true
		if m.Type == "" || m.Help == "" || m.From == "" && (m.Type == metrics.Histogram) != (len(m.Buckets) > 0) {
			t.Errorf("%s: want a type, help, and buckets for a histogram only: %+v", m.Name, m)
		}
		for _, l := range m.Labels {
			if (len(l.Values) > 0) == (l.Bound != "") {
				t.Errorf("%s: label %s: want either values or a bound", m.Name, l.Name)
			}
			if slices.Contains(replaced, l.Name) && !(m.Name == "agiqa.request.duration" && l.Name == "status") {
				t.Errorf("%s: label %s, want outcome or reason", m.Name, l.Name)
			}
		}
	}
}

// TestInstruments reads what instruments of each sort measured.
func TestInstruments(t *testing.T) {
	t.Parallel()
	reader := sdkmetric.NewManualReader()
	meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")
	images, err1 := metrics.Images.New(meter)
	active, err2 := metrics.RequestsActive.New(meter)
	sizes, err3 := metrics.BatchSize.New(meter)
	durations, err4 := metrics.RequestDuration.New(meter)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		t.Fatal(err)
	}
	images.Add(t.Context(), 1)
	active.Add(t.Context(), 1)
	sizes.Record(t.Context(), 1)
	durations.Record(t.Context(), 1)
	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	got := map[string]metrics.Metric{}
	for _, m := range collected.ScopeMetrics[0].Metrics {
		made := metrics.Metric{Name: m.Name, Unit: m.Unit, Help: m.Description}
		switch data := m.Data.(type) {
		case metricdata.Sum[int64]:
			made.Type = metrics.Gauge
			if data.IsMonotonic {
				made.Type = metrics.Counter
			}
		case metricdata.Histogram[int64]:
			made.Type, made.Buckets = metrics.Histogram, data.DataPoints[0].Bounds
		case metricdata.Histogram[float64]:
			made.Type, made.Buckets = metrics.Histogram, data.DataPoints[0].Bounds
		}
		got[m.Name] = made
	}
	want := map[string]metrics.Metric{}
	for _, m := range []metrics.Metric{
		metrics.Images.Metric, metrics.RequestsActive.Metric, metrics.BatchSize.Metric, metrics.RequestDuration.Metric,
	} {
		m.Labels = nil // of each measurement
		want[m.Name] = m
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("instruments (-want +got):\n%s", diff)
	}
}

// failures keeps what would fail a test.
type failures struct {
	testing.TB
	texts []string
}

func (f *failures) Errorf(format string, args ...any) {
	f.texts = append(f.texts, fmt.Sprintf(format, args...))
}

func TestCollectFaults(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, metric string
		label        attribute.KeyValue
		want         string
	}{
		{"sound", "agiqa.checkpoint.changes", metrics.Outcome("ok"), ""},
		{"a library's", "rpc.novel", metrics.Outcome("ok"), ""},
		{"unknown metric", "agiqa.novel", metrics.Outcome("ok"), "agiqa.novel is not declared"},
		{"unknown label", "agiqa.checkpoint.changes", attribute.String("result", "ok"),
			"agiqa.checkpoint.changes: label result is not declared"},
		{"unknown value", "agiqa.checkpoint.changes", metrics.Outcome("fine"),
			`agiqa.checkpoint.changes: label outcome has the value "fine", which is not declared`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			reader, recorded := sdkmetric.NewManualReader(), &failures{TB: t}
			meter := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)).Meter("test")
			counter, err := meter.Int64Counter(test.metric)
			if err != nil {
				t.Fatal(err)
			}
			counter.Add(t.Context(), 2, metric.WithAttributes(test.label))
			got := metricstest.Values(recorded, reader, test.metric)
			if text := strings.Join(recorded.texts, "; "); text != test.want {
				t.Errorf("failures %q, want %q", text, test.want)
			}
			if test.name == "sound" && got["outcome=ok"] != 2 {
				t.Errorf("values %v, want 2 of outcome=ok", got)
			}
		})
	}
}

func TestLabels(t *testing.T) {
	t.Parallel()
	corrupt := quality.Errorf(quality.KindImageCorrupt, "truncated")
	for _, test := range []struct{ got, want string }{
		{string(metrics.OutcomeOf(nil).Key) + "=" + metrics.OutcomeOf(nil).Value.AsString(), "outcome=ok"},
		{metrics.OutcomeOf(corrupt).Value.AsString(), "image_corrupt"},
		{metrics.OutcomeOf(errors.New("unknown")).Value.AsString(), "internal"},
		{string(metrics.Reason("late").Key) + "=" + metrics.Reason("late").Value.AsString(), "reason=late"},
	} {
		if test.got != test.want {
			t.Errorf("label %q, want %q", test.got, test.want)
		}
	}
}

func TestSeries(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		metric metrics.Metric
		want   []string
	}{
		{metrics.Metric{Name: "agiqa.images", Type: metrics.Counter, Unit: "{image}"}, []string{"agiqa_images_total"}},
		{metrics.Metric{Name: "agiqa.took", Type: metrics.Histogram, Unit: "s"},
			[]string{"agiqa_took_seconds_bucket", "agiqa_took_seconds_count", "agiqa_took_seconds_sum"}},
		{metrics.Metric{Name: "agiqa.memory.bytes", Type: metrics.Gauge, Unit: "By"}, []string{"agiqa_memory_bytes"}},
		{metrics.Metric{Name: "agiqa.copied", Type: metrics.Counter, Unit: "By"}, []string{"agiqa_copied_bytes_total"}},
		{metrics.Metric{Name: "go_x_bytes", Type: metrics.Gauge, Unit: "By", From: "Go"}, []string{"go_x_bytes"}},
	} {
		if diff := cmp.Diff(test.want, test.metric.Series()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", test.metric.Name, diff)
		}
	}
}

func TestScrapeFaults(t *testing.T) {
	t.Parallel()
	const help = "# HELP agiqa_queue_depth Scoring requests in the queue.\n"
	for _, test := range []struct{ name, text, want string }{
		{"sound", help + "# TYPE agiqa_queue_depth gauge\nagiqa_queue_depth 1\n", ""},
		{"unknown family", "# TYPE agiqa_novel gauge\nagiqa_novel 1\n", "agiqa_novel is not declared"},
		{"another type", help + "# TYPE agiqa_queue_depth counter\nagiqa_queue_depth 1\n",
			"agiqa_queue_depth: is a COUNTER, declared as gauge"},
		{"another help", "# HELP agiqa_queue_depth Depth.\n# TYPE agiqa_queue_depth gauge\nagiqa_queue_depth 1\n",
			`agiqa_queue_depth: help is "Depth.", declared as "Scoring requests in the queue."`},
		{"unknown label", "# TYPE go_goroutine_count gauge\ngo_goroutine_count{path=\"/x\"} 1\n",
			"go_goroutine_count: label path is not declared"},
		{"unknown value", "# TYPE go_memory_used_bytes gauge\ngo_memory_used_bytes{go_memory_type=\"wood\"} 1\n",
			`go_memory_used_bytes: label go_memory_type has the value "wood", which is not declared`},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			_, faults, err := metricstest.Scrape([]byte(test.text))
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(faults, "; "); got != test.want {
				t.Errorf("faults %q, want %q", got, test.want)
			}
		})
	}
}
