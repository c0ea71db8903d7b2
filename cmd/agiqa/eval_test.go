package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// scoreServer gives an image the number that its bytes spell as its score.
func scoreServer(t *testing.T, calls *atomic.Int64) *httptest.Server {
	t.Helper()
	digest := quality.DigestOf([]byte("judge"))
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"name": "agiqa"}) })
	mux.HandleFunc("GET /v1/checkpoints", func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"default": "judge"}) })
	mux.HandleFunc("GET /v1/checkpoints/judge", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"name": "judge", "digest": digest})
	})
	mux.HandleFunc("POST /v1/score", func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var score float32
		if _, err := fmt.Fscan(r.Body, &score); err != nil {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			answer(w, gateway.Problem{Code: quality.KindImageCorrupt, Detail: "no number"})
			return
		}
		answer(w, gateway.ScoreResponse{Results: []gateway.Result{{Score: &score, Checkpoint: &gateway.CheckpointRef{Name: "judge", Digest: digest}}}})
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}

func TestEvalCommand(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	scores := []float64{1.5, 4.25, 2.125, 3.5, 0.1, 3.75, 2.5, 1.875}
	mos := []float64{1.2, 4.6, 2.0, 3.1, 0.4, 4.2, 2.9, 1.4}
	rows := "name,prompt,mos_quality\n"
	for i := range scores {
		name := fmt.Sprintf("%d.jpg", i)
		write(name, fmt.Sprint(scores[i]))
		rows += fmt.Sprintf("%s,\"a, b\",%v\n", name, mos[i])
		scores[i] = float64(float32(scores[i])) // what a server can say
	}
	dataset := write("data.csv", rows)
	want, err := evaluation.Evaluate(scores, mos, evaluation.DefaultBootstrap())
	if err != nil {
		t.Fatal(err)
	}
	document, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var calls atomic.Int64
	server := scoreServer(t, &calls)
	args := []string{"eval", "--csv", dataset, "--images", dir, "--url", server.URL, "--json", "--svg", filepath.Join(dir, "plot.svg")}

	t.Run("one image cannot be scored: the others are kept", func(t *testing.T) {
		write("3.jpg", "broken")
		out, errs, status := runCommand(t, nil, nil, args...)
		if status != 1 || out != "" || !strings.Contains(errs, "1 of 8 images could not be scored") {
			t.Errorf("status %d, %s%s", status, out, errs)
		}
	})
	t.Run("the same command goes on, past a line that was cut off", func(t *testing.T) {
		write("3.jpg", "3.5")
		book := filepath.Join(dir, "data.judge.scores.csv")
		kept, err := os.ReadFile(book)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(book, append(kept, "3.jpg,3."...), 0o600); err != nil {
			t.Fatal(err)
		}
		calls.Store(0)
		out, errs, status := runCommand(t, nil, nil, args...)
		if status != 0 || strings.TrimSpace(out) != string(document) {
			t.Errorf("status %d, got\n%s\nwant\n%s\n%s", status, out, document, errs)
		}
		if n := calls.Load(); n != 1 {
			t.Errorf("%d images were sent, want the missing one", n)
		}
		if svg, err := os.ReadFile(filepath.Join(dir, "plot.svg")); err != nil || strings.Count(string(svg), "<circle") != 8 {
			t.Errorf("plot: %v, %d points", err, strings.Count(string(svg), "<circle"))
		}
	})
	t.Run("a table for people", func(t *testing.T) {
		out, _, status := runCommand(t, nil, nil, "eval", "--csv", dataset, "--images", dir, "--url", server.URL)
		if status != 0 || !strings.Contains(strings.ToLower(out), "srcc") {
			t.Errorf("status %d, %s", status, out)
		}
	})
	for name, tc := range map[string]struct{ csv, want string }{
		"a path out of the folder": {"image,score\n../../etc/passwd,1\n", "bad.csv:2: \"../../etc/passwd\" is not a path below"},
		"an image twice":           {"image,score\na,1\na,2\n", "bad.csv:3: \"a\" is named twice"},
		"no number":                {"image,score\na,NaN\n", "bad.csv:2: \"NaN\" is not a finite number"},
		"no column":                {"picture,score\na,1\n", "no column"},
		"no rows":                  {"image,mos\n", "no rows"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, status := runCommand(t, nil, nil, "eval", "--csv", write("bad.csv", tc.csv), "--images", dir, "--url", server.URL)
			if status != 1 || !strings.Contains(errs, tc.want) {
				t.Errorf("status %d, %s, want %q", status, errs, tc.want)
			}
		})
	}
	t.Run("scores of another checkpoint are not mixed in", func(t *testing.T) {
		out := write("other.csv", "image,score,mos,checkpoint\n0.jpg,1,1,sha256:0\n")
		_, errs, status := runCommand(t, nil, nil, append(args, "--out", out)...)
		if status != 1 || !strings.Contains(errs, "another checkpoint") {
			t.Errorf("status %d, %s", status, errs)
		}
	})
}
