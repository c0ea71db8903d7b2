package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/version"
	"github.com/agiqa/agiqa/quality"
)

// promotable are checkpoints of a server that has no models.
type promotable struct{ def atomic.Value }

func (p *promotable) Resolve(name string) (quality.Checkpoint, error) {
	return quality.Checkpoint{
		Name:   name,
		Digest: quality.DigestOf([]byte(name)),
		Score:  quality.ScoreRange{Max: 5},
	}, nil
}
func (p *promotable) Names() []string                      { return []string{"a", "b"} }
func (p *promotable) Default() (quality.Checkpoint, error) { return p.Resolve(p.name()) }
func (p *promotable) name() string                         { return p.def.Load().(string) }
func (p *promotable) Activate(_ context.Context, name, _ string) error {
	p.def.Store(name)
	return nil
}
func (p *promotable) Preprocess(quality.Checkpoint) quality.PreprocessID { return "exact/1" }

// experimentServer serves the experiment x of the checkpoints a and b, which
// runs without any record.
func experimentServer(t *testing.T) (url string, checkpoints *promotable) {
	t.Helper()
	hasher, err := experiment.NewHasher([]byte("a key of thirty-two bytes, secret"))
	if err != nil {
		t.Fatal(err)
	}
	checkpoints = &promotable{}
	checkpoints.def.Store("a")
	e, err := engine.New(engine.Deps{
		Store: storetest.Open(t, time.Now), Hasher: hasher, Checkpoints: checkpoints,
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Create(t.Context(), []byte("id: x\narms: [{checkpoint: a}, {id: new, checkpoint: b}]\n"),
		"test"); err != nil {
		t.Fatal(err)
	}
	if _, err := e.Start(t.Context(), "x", "test"); err != nil {
		t.Fatal(err)
	}
	s := testSettings(t)
	g, err := gateway.New(gateway.Config{
		Version: version.Current().Version, RequestTimeout: s.RequestTimeout, MaxBodyBytes: int64(s.MaxBodyBytes),
		MaxBundleBytes: int64(s.MaxBundleBytes),
		MaxImages:      s.MaxImages, MaxImageBytes: int64(s.MaxImageBytes), AdminKey: testAdminKey,
	}, gateway.Deps{
		Readiness: gateway.NewReadiness(1, 1), Metrics: http.NotFoundHandler(), Experiments: e,
		Tracer: sdktrace.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(g.Handler())
	t.Cleanup(server.Close)
	return server.URL, checkpoints
}

// testAdminKey is the admin key of servers that tests start.
const testAdminKey = "the-key-of-this-test"

func TestPromoteOverHTTP(t *testing.T) {
	url, checkpoints := experimentServer(t)
	post := func(key, body string) (int, gateway.Problem) {
		t.Helper()
		req, err := http.NewRequestWithContext(
			t.Context(),
			http.MethodPost,
			url+"/v1/experiments/x/promote",
			strings.NewReader(body),
		)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer "+key)
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		raw, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		var p gateway.Problem
		if err := json.Unmarshal(raw, &p); err != nil {
			t.Fatalf("%v: %s", err, raw)
		}
		return res.StatusCode, p
	}
	for _, tc := range []struct {
		name, key, body string
		status          int
		code            quality.Kind
	}{
		{"no key", "other", `{"arm":"new","force":true,"reason":"r"}`, http.StatusUnauthorized, quality.KindUnauthenticated},
		{"the rule is not met", testAdminKey, `{"arm":"new"}`, http.StatusConflict, quality.KindConflict},
		{"force without a reason", testAdminKey, `{"arm":"new","force":true}`, http.StatusUnprocessableEntity,
			quality.KindExperimentInvalid},
		{"a reason without force", testAdminKey, `{"arm":"new","reason":"r"}`, http.StatusUnprocessableEntity,
			quality.KindExperimentInvalid},
	} {
		status, p := post(tc.key, tc.body)
		if status != tc.status || p.Code != tc.code || checkpoints.name() != "a" {
			t.Errorf("%s: status %d, %+v, the default is %s", tc.name, status, p, checkpoints.name())
		}
		if tc.code == quality.KindConflict {
			var text strings.Builder
			for _, e := range p.Errors {
				text.WriteString(e.Location + ": " + e.Message + "\n")
			}
			if !strings.Contains(text.String(), "promotion: There are 0 images with blind labels; 300 are needed.") ||
				!strings.Contains(text.String(), "s; 24h0m0s are needed.") {
				t.Errorf("missing is\n%s", text.String())
			}
		}
	}
	if status, p := post(testAdminKey, `{"arm":"new","force":true,"reason":"a decision"}`); status != http.StatusOK ||
		checkpoints.name() != "b" {
		t.Errorf("forced: status %d, %+v, the default is %s", status, p, checkpoints.name())
	}
	if status, p := post(testAdminKey, `{"arm":"new"}`); status != http.StatusOK {
		t.Errorf("again: status %d, %+v", status, p)
	}
}

func TestPromoteCommand(t *testing.T) {
	url, checkpoints := experimentServer(t)
	env := []string{"AGIQA_URL=" + url, "AGIQA_ADMIN_KEY=" + testAdminKey}
	promote := func(more ...string) (out, errs string, status int) {
		t.Helper()
		return runCommand(t, env, nil, append([]string{"experiment", "promote", "x", "new", "--yes"}, more...)...)
	}
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"the rule is not met": {nil,
			"There are 0 images with blind labels; 300 are needed. There are 0 raters with blind labels; 3 are needed. It " +
				"has run for "},
		"force without a reason": {[]string{"--force"}, "reason: is needed with force"},
		"a reason without force": {[]string{"--reason", "r"}, "reason: is for a promotion with force"},
	} {
		if out, errs, status := promote(tc.args...); status != 1 || out != "" || strings.Count(errs, "\n") != 1 ||
			!strings.Contains(errs, tc.want) {
			t.Errorf("%s: status %d, %s%s", name, status, out, errs)
		}
	}
	if checkpoints.name() != "a" {
		t.Fatalf("after refusals the default is %s", checkpoints.name())
	}
	out, errs, status := promote("--force", "--reason", "the <old> one is broken")
	if status != 0 || !strings.Contains(out, "promoted, forced: the <old> one is broken") || checkpoints.name() != "b" {
		t.Errorf("status %d, the default is %s: %s%s", status, checkpoints.name(), out, errs)
	}
	out, errs, _ = runCommand(t, env, nil, "experiment", "audit", "x")
	if !strings.Contains(out, "running to promoted (checkpoint b, forced: the <old> one is broken)") ||
		!strings.Contains(out, "rule met  false") {
		t.Errorf("audits: %s%s", out, errs)
	}
	page := t.TempDir() + "/report.html"
	if _, errs, status := runCommand(t, env, nil, "experiment", "report", "x", "--html", page); status != 0 {
		t.Fatal(errs)
	}
	if text := readFile(t, page); !strings.Contains(text, "Reason: the &lt;old&gt; one is broken") {
		t.Error("the page of the report has no reason")
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestCreateTakesBothForms: a definition in YAML and one in JSON arrive as what
// they are.
func TestCreateTakesBothForms(t *testing.T) {
	url, _ := experimentServer(t)
	for name, text := range map[string]string{
		"yaml": "id: by-yaml\narms: [{checkpoint: a}, {id: new, checkpoint: b}]\n",
		"json": `{"id": "by-json", "arms": [{"checkpoint": "a"}, {"id": "new", "checkpoint": "b"}]}`,
	} {
		file := filepath.Join(t.TempDir(), "definition")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, status := runCommand(t, []string{"AGIQA_ADMIN_KEY=" + testAdminKey}, nil, "experiment",
			"create", file, "--url", url)
		if status != 0 || !strings.Contains(out, "by-"+name+" is draft") {
			t.Errorf("%s: status %d, %s%s", name, status, out, errs)
		}
	}
}
