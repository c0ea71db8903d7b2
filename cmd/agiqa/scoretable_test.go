package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agiqa/agiqa/gateway"
)

// TestScoreTable wants each result on one line that says how sure the score is,
// and lists that show what checkpoints measure.
func TestScoreTable(t *testing.T) {
	score, other := float32(3.25), float32(4.5)
	interval := &gateway.ScoreInterval{Low: 2.75, High: 3.75, Coverage: 0.9}
	plain := gateway.Measurement{Score: &score}
	whole := gateway.Measurement{
		Score: &score, Interval: interval, Distribution: &gateway.Distribution{Distance: 0.5, Threshold: 0.25, Outside: true},
	}
	named := func(m gateway.Measurement, name string) gateway.CheckpointScore {
		return gateway.CheckpointScore{Measurement: m, Checkpoint: gateway.CheckpointRef{Name: name}}
	}
	coverage := 0.9
	view := gateway.CheckpointView{
		Name: "precise", Default: true, Task: "quality", Views: []string{"448/r0c0", "448/r0c1"}, Usable: true,
		Scale: gateway.ScoreScale{Min: 1, Max: 5, Unit: "MOS", Clamp: true}, Coverage: &coverage,
		Reference: &gateway.CheckpointReference{Rows: 256, Threshold: 0.25},
		Evaluation: []gateway.CheckpointEvaluation{
			{Dataset: "AVT", Task: "quality", Images: 134, SRCC: 0.62, Low: 0.5, High: 0.71},
		},
	}
	var result atomic.Pointer[gateway.Result] // the server's goroutine reads it
	mux := http.NewServeMux()
	answer := func(pattern string, v func() any) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			if err := json.NewEncoder(w).Encode(v()); err != nil {
				t.Error(err)
			}
		})
	}
	answer("GET /healthz", func() any { return map[string]string{"name": "agiqa"} })
	answer("POST /v1/score", func() any { return gateway.ScoreResponse{Results: []gateway.Result{*result.Load()}} })
	answer("GET /v1/checkpoints", func() any { return map[string]any{"checkpoints": []any{view}, "default": "precise"} })
	answer("GET /v1/checkpoints/precise", func() any { return view })
	server := httptest.NewServer(mux)
	defer server.Close()
	image := filepath.Join(t.TempDir(), "a.png")
	if err := os.WriteFile(image, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		result gateway.Result
		want   []string
	}{
		"a score alone": {gateway.Result{Measurement: plain}, []string{"  3.2500  " + image}},
		"interval, and unlike data": {gateway.Result{Measurement: whole},
			[]string{"  3.2500    2.75..3.75    " + image + "  (unlike the training data)"}},
		"aspects": {gateway.Result{Measurement: plain, Aspects: map[string]gateway.CheckpointScore{
			"quality":   named(gateway.Measurement{Score: &score, Interval: interval}, "q"),
			"alignment": named(gateway.Measurement{Score: &other}, "a"),
		}}, []string{
			"  4.5000  alignment                 " + image, "  3.2500    2.75..3.75    quality                   " + image,
		}},
		"checkpoints": {gateway.Result{Measurement: plain, Scores: []gateway.CheckpointScore{named(plain, "q")}},
			[]string{"  3.2500  q                         " + image}},
	} {
		result.Store(&test.result)
		out, errs, status := runCommand(t, nil, nil, "score", image, "--url", server.URL)
		if want := strings.Join(test.want, "\n") + "\n"; status != 0 || out != want {
			t.Errorf("%s: status %d\n%s%swant\n%s", name, status, out, errs, want)
		}
	}
	out, errs, status := runCommand(t, nil, nil, "score", image, "--url", server.URL, "--checkpoint", "a",
		"--aspects", "b")
	if status == 0 || !strings.Contains(errs, "aspects checkpoint") {
		t.Errorf("--checkpoint and --aspects: status %d, %s%s", status, out, errs)
	}
	const evaluated = "AVT (quality, 134 images): SRCC 0.62 [0.50, 0.71]"
	for _, test := range []struct {
		args []string
		want []string
	}{
		{[]string{"checkpoint", "list"}, []string{"TASK", "quality", "1..5 MOS, clamped", evaluated}},
		{[]string{"checkpoint", "show", "precise"}, []string{
			"quality", "1..5 MOS, clamped", "448/r0c0, 448/r0c1", "90 % nominal coverage", "256 embeddings, threshold 0.25",
			evaluated,
		}},
	} {
		out, errs, status := runCommand(t, nil, nil, append(test.args, "--url", server.URL)...)
		for _, want := range test.want {
			if status != 0 || !strings.Contains(out, want) {
				t.Errorf("%v: status %d, %s%swant %q", test.args, status, out, errs, want)
			}
		}
	}
}
