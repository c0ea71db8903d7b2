package gateway_test

import (
	"math"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/internal/testimages"
)

// TestStagesAgree: a stage's span, its value in the histogram and its entry in
// timing_ms are one measurement.
func TestStagesAgree(t *testing.T) {
	r := newRig(t)
	answer := r.post("/v1/score", testimages.PNG(300, 200), "image/png").scores(t)
	spans := map[string]time.Duration{}
	parents := map[string]string{}
	names := map[string]string{}
	for _, s := range r.spans.Ended() {
		names[s.SpanContext().SpanID().String()] = s.Name()
	}
	for _, s := range r.spans.Ended() {
		if s.InstrumentationScope().Name == "github.com/agiqa/agiqa/scoring" {
			spans[s.Name()] = s.EndTime().Sub(s.StartTime())
			parents[s.Name()] = names[s.Parent().SpanID().String()]
		}
	}
	sums := map[string]float64{}
	data := metricstest.Collect(t, r.reader)["agiqa.stage.duration"]
	for _, p := range data.(metricdata.Histogram[float64]).DataPoints {
		stage, _ := p.Attributes.Value("stage")
		if p.Count != 1 {
			t.Errorf("%d values of %s, want 1", p.Count, stage.AsString())
		}
		sums[stage.AsString()] = p.Sum
	}
	total := answer.TimingMS["total"]
	delete(answer.TimingMS, "total")
	for _, stage := range []string{"read", "inspect", "admission", "lookup", "prepare", "decode",
		"resize", "texts", "ensemble"} {
		span, ok := spans[stage]
		if ms := float64(span.Microseconds()) / 1000; !ok || ms != answer.TimingMS[stage] || ms > total {
			t.Errorf("%s: the span (there is one: %v) lasts %v, timing_ms says %v of %v", stage, ok, span,
				answer.TimingMS[stage], total)
		}
		if math.Abs(sums[stage]-span.Seconds()) > 1e-9 {
			t.Errorf("%s: the span lasts %v, the histogram has %v s", stage, span, sums[stage])
		}
		want := "POST /v1/score"
		if slices.Contains([]string{"decode", "resize"}, stage) {
			want = "prepare"
		}
		if parents[stage] != want {
			t.Errorf("%s is a child of %q, want %q", stage, parents[stage], want)
		}
	}
	if len(spans) != len(answer.TimingMS) || len(sums) != len(spans) {
		t.Errorf("%d spans, %d values, timings %v", len(spans), len(sums), answer.TimingMS)
	}
}

// TestStagesOfFailures: what was begun is told, with what went wrong.
func TestStagesOfFailures(t *testing.T) {
	r := newRig(t)
	file := testimages.PNG(64, 64)
	r.post("/v1/score", file[:len(file)-100], "image/png")
	found := map[string]string{}
	for _, s := range r.spans.Ended() {
		found[s.Name()] = attributes(s)["error.type"]
	}
	if found["decode"] == "" || found["decode"] != found["POST /v1/score"] {
		t.Errorf("error.type by span is %v, want decode to have that of the request", found)
	}
	if _, ok := found["resize"]; ok {
		t.Error("what was not decoded was resized")
	}
}
