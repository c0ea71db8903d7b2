package main

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"testing"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/internal/metrics/metricstest"
)

// wantDeclared scrapes a program at the end of a test: whatever the test did
// to it, /metrics shows nothing that docs/metrics.md does not name. A program
// that the test has ended is not asked.
func wantDeclared(t *testing.T, p *process) {
	t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	// The test's own context has ended.
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, p.url+"/metrics", nil)
	if err != nil {
		t.Error(err)
		return
	}
	if p.key != "" {
		req.Header.Set("Authorization", "Bearer "+p.key)
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return // it has stopped listening, as tests of the end of the program want it
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return
	}
	families, faults, err := metricstest.Scrape(text)
	if err != nil {
		t.Errorf("/metrics: %v", err)
	}
	if len(families) < 20 {
		t.Errorf("/metrics has %d families, want the program's and its libraries': %q", len(families), families)
	}
	for _, fault := range faults {
		t.Error(fault)
	}
}

func TestMetricsReference(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	root := newRoot(&cli.Terminal{Out: &out, Err: &errs})
	root.SetArgs([]string{"metrics", "reference"})
	if err := root.ExecuteContext(t.Context()); err != nil {
		t.Fatalf("agiqa metrics reference: %v (%s)", err, errs.String())
	}
	if out.String() != metrics.Reference() {
		t.Error("the command prints something else than the page")
	}
}
