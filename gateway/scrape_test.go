package gateway_test

import (
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/telemetry"
	"github.com/agiqa/agiqa/tritonclient/tritontest"
)

// scraped is a rig whose /metrics is the real one.
func newScraped(t *testing.T, edits ...func(*plan)) *rig {
	t.Helper()
	tel, err := telemetry.New(t.Context(), telemetry.DefaultConfig(), nil)
	must(t, err)
	return newRig(t, append([]func(*plan){func(p *plan) { p.telemetry = tel }}, edits...)...)
}

// TestScrapeIsAsDeclared: what went well, what clients did wrong, what
// the server could not do, and hostile requests leave nothing on /metrics that
// docs/metrics.md does not name.
func TestScrapeIsAsDeclared(t *testing.T) {
	l := &ledger{}
	r := newScraped(t, func(p *plan) {
		p.changes, p.gateway.AdminKey = l, adminKey
		p.readiness = gateway.NewReadiness(time.Minute, time.Second,
			gateway.Check{Name: "checkpoint " + strings.Repeat("x", 100)})
	})
	image := testimages.PNG(8, 8)
	r.post("/v1/score", image, "image/png").scores(t)
	r.post("/v1/score", image, "image/png").scores(t) // from the cache
	r.post("/v1/compare", image, "image/png").scores(t)
	r.post("/v1/score", []byte("no image"), "image/png").wantProblem(t, quality.KindUnsupportedImageFormat)
	r.triton.Fail(tritontest.Checkpoint(first).EnsembleModel(), codes.Internal, "broken")
	r.post("/v1/score", testimages.PNG(9, 9), "image/png")
	for i := range 20 {
		r.ask(fmt.Sprintf("METHOD%d", i), "/", nil)
		r.ask(http.MethodGet, fmt.Sprintf("/hostile/%d", i), nil)
		r.ask(http.MethodGet, fmt.Sprintf("/v1/checkpoints/hostile-%d", i), nil)
		r.post(fmt.Sprintf("/v1/score?checkpoint=hostile-%d", i), image, "image/png")
	}
	r.admin(http.MethodDelete, "/v1/checkpoints/a", nil, bearer(adminKey)...)

	text := string(r.ask(http.MethodGet, "/metrics", nil).body)
	families, faults, err := metricstest.Scrape([]byte(text))
	must(t, err)
	for _, fault := range faults {
		t.Error(fault)
	}
	for _, want := range []string{
		"agiqa_request_duration_seconds", "agiqa_requests_active", "agiqa_problems_total",
		"agiqa_images_total", "agiqa_queue_depth",
		"agiqa_stage_duration_seconds", "agiqa_triton_duration_seconds", "agiqa_triton_attempts_total",
		"agiqa_checkpoint_scores_total",
		"agiqa_checkpoint_changes_total", "agiqa_ready", "agiqa_readiness_failing", "process_open_fds", "go_goroutine_count",
	} {
		if !slices.Contains(families, want) {
			t.Errorf("%s is not on /metrics, which has %q", want, families)
		}
	}
	if strings.Contains(text, "hostile") || strings.Contains(text, "METHOD") || strings.Contains(text, "xxx") {
		t.Error("what strangers and operators name is in a label")
	}
}

// TestExemplarsAreOfTheRequest: from a bucket of the latency to the trace that
// the client was told.
func TestExemplarsAreOfTheRequest(t *testing.T) {
	r := newScraped(t)
	answer := r.post("/v1/score", testimages.PNG(8, 8), "image/png")
	answer.scores(t)
	text := string(r.ask(http.MethodGet, "/metrics", nil,
		header("Accept", "application/openmetrics-text; version=1.0.0")).body)
	for _, family := range []string{"agiqa_request_duration_seconds", "agiqa_stage_duration_seconds",
		"agiqa_triton_duration_seconds"} {
		line := regexp.MustCompile(`(?m)^` + family + `_bucket\{[^#]*# \{[^}]*trace_id="` +
			answer.header.Get("X-Trace-Id") + `"`)
		if !line.MatchString(text) {
			t.Errorf("no bucket of %s names trace %s:\n%s", family, answer.header.Get("X-Trace-Id"), text)
		}
	}
}
