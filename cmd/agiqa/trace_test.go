package main

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// TestTracesAreKept starts agiqa up --trace, with no collector anywhere, and
// reads the trace of an answer back: the gateway's spans and Triton's.
func TestTracesAreKept(t *testing.T) {
	needsTriton(t)
	needsWholeTraces(t)
	t.Parallel()
	data := t.TempDir()
	env := []string{"AGIQA_DATA_DIR=" + data, "AGIQA_OPERATIONS_LISTEN=127.0.0.1:0"}
	p := startUp(t, env, "--trace")
	a := post(t, p.url+"/v1/score", "application/octet-stream", example(t, "harbour.jpg"))
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %+v", a.status, a.problem)
	}
	id := a.score.TraceID
	var shown string
	eventually(t, "both programs' spans in the drawing", func() bool {
		out, _, status := runCommand(t, env, nil, "trace", "show", id[:12])
		shown = out
		return status == 0 && strings.Contains(out, "─ compute") && strings.Contains(out, "InferRequest") &&
			strings.Contains(out, "POST /v1/score")
	})
	for _, want := range []string{"trace " + id, "POST /v1/score", "InferRequest", "clip_image_encoder", "▕"} {
		if !strings.Contains(shown, want) {
			t.Errorf("no %q in\n%s", want, shown)
		}
	}
	document := agiqa(t, env, "trace", "show", id, "--json")
	if document["trace_id"] != id || len(document["spans"].([]any)) < 8 {
		t.Errorf("document %v", document)
	}
	if out, _, _ := runCommand(t, env, nil, "trace", "list", "--limit", "1000"); !strings.Contains(out, id) {
		t.Errorf("list without %s:\n%s", id, out)
	}
	for _, test := range []struct{ name, id, want string }{
		{"no trace", "ffffffffffff0000", "no trace begins with"},
		{"no id", "../x", "is no trace id"},
		{"no beginning", "ab", "is no trace id"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, errs, status := runCommand(t, env, nil, "trace", "show", test.id); status != 1 ||
				!strings.Contains(errs, test.want) {
				t.Errorf("status %d, %s", status, errs)
			}
		})
	}
	if _, errs, status := runCommand(t, []string{"AGIQA_DATA_DIR=" + t.TempDir()}, nil, "trace", "list"); status != 1 ||
		!strings.Contains(errs, "--trace") {
		t.Errorf("a folder without traces: status %d, %s", status, errs)
	}

	t.Run("health, metrics and profiles have a port of their own", func(t *testing.T) {
		address := p.records("operations")[0]["address"].(string)
		for url, want := range map[string]int{
			address + "/debug/pprof/goroutine?debug=1": http.StatusOK, p.url + "/debug/pprof/": http.StatusNotFound,
			address + "/healthz": http.StatusOK, address + "/readyz": http.StatusOK, address + "/metrics": http.StatusOK,
			address + "/v1/checkpoints": http.StatusNotFound,
		} {
			// The document is about the other port.
			res, err := (&http.Client{Transport: &http.Transport{}}).Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(res.Body)
			if res.Body.Close(); err != nil || res.StatusCode != want {
				t.Errorf("%s: status %d, %v, %.80s", url, res.StatusCode, err, body)
			}
		}
	})
}
