package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

// scoreServer gives an image the number that its bytes spell as its score, and
// its double in the mode fast.
func scoreServer(t *testing.T, calls *atomic.Int64) *httptest.Server {
	t.Helper()
	digest := quality.DigestOf([]byte("judge"))
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, v any) {
		if err := json.NewEncoder(w).Encode(v); err != nil {
			t.Error(err)
		}
	}
	mux.HandleFunc(
		"GET /healthz",
		func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"name": "agiqa"}) },
	)
	mux.HandleFunc(
		"GET /v1/checkpoints",
		func(w http.ResponseWriter, _ *http.Request) { answer(w, map[string]string{"default": "judge"}) },
	)
	mux.HandleFunc("GET /v1/checkpoints/judge", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, map[string]any{"name": "judge", "digest": digest})
	})
	mode := func(r *http.Request) string { return cmp.Or(r.URL.Query().Get("preprocess"), "exact") }
	mux.HandleFunc(
		"POST /v1/preprocess",
		func(w http.ResponseWriter, r *http.Request) { w.Header().Set("X-Preprocess", mode(r)+"/1") },
	)
	mux.HandleFunc("POST /v1/score", func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		var score float32
		if _, err := fmt.Fscan(r.Body, &score); err != nil {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusUnprocessableEntity)
			answer(w, gateway.Problem{Code: quality.KindImageCorrupt, Detail: "no number"})
			return
		}
		if mode(r) == "fast" {
			score *= 2
		}
		answer(w, gateway.ScoreResponse{
			Results: []gateway.Result{
				{Measurement: gateway.Measurement{Score: &score},
					Checkpoint: &gateway.CheckpointRef{Name: "judge", Digest: digest}},
			},
			Preprocess: mode(r) + "/1",
		})
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
	args := []string{
		"eval",
		"--csv",
		dataset,
		"--images",
		dir,
		"--url",
		server.URL,
		"--json",
		"--svg",
		filepath.Join(dir, "plot.svg"),
	}

	t.Run("one image cannot be scored: the figures are of the others", func(t *testing.T) {
		for name, prepare := range map[string]func(path string) error{
			"broken": func(path string) error { return os.WriteFile(path, []byte("broken"), 0o600) }, "missing": os.Remove,
		} {
			if err := prepare(filepath.Join(dir, "3.jpg")); err != nil {
				t.Fatal(err)
			}
			out, errs, status := runCommand(t, nil, nil, args...)
			var report evalReport
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				t.Fatalf("%s: %v: %s%s", name, err, out, errs)
			}
			if status != 1 || report.Images != 7 || !slices.Equal(report.Unscored, []string{"3.jpg"}) ||
				!strings.Contains(
					errs,
					"agiqa: 3.jpg: ",
				) || !strings.Contains(errs, "1 of 8 images could not be scored") {
				t.Errorf("%s: status %d, %s%s", name, status, out, errs)
			}
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
		const dot = "fill-opacity:0.45"
		if svg, err := os.ReadFile(filepath.Join(dir, "plot.svg")); err != nil || strings.Count(string(svg), dot) != 8 {
			t.Errorf("plot: %v, %d points", err, strings.Count(string(svg), dot))
		}
	})
	t.Run("a table for people", func(t *testing.T) {
		out, _, status := runCommand(t, nil, nil, "eval", "--csv", dataset, "--images", dir, "--url", server.URL)
		if status != 0 || !strings.Contains(strings.ToLower(out), "srcc") {
			t.Errorf("status %d, %s", status, out)
		}
	})
	for name, tc := range map[string]struct{ csv, want string }{
		"a path out of the folder": {"image,score\n../../etc/passwd,1\n",
			"bad.csv:2: \"../../etc/passwd\" is not a path below"},
		"an image twice": {"image,score\na,1\na,2\n", "bad.csv:3: \"a\" is named twice"},
		"no number":      {"image,score\na,NaN\n", "bad.csv:2: \"NaN\" is not a finite number"},
		"no column":      {"picture,score\na,1\n", "no column"},
		"no rows":        {"image,mos\n", "no rows"},
	} {
		t.Run(name, func(t *testing.T) {
			_, errs, status := runCommand(
				t,
				nil,
				nil,
				"eval",
				"--csv",
				write("bad.csv", tc.csv),
				"--images",
				dir,
				"--url",
				server.URL,
			)
			if status != 1 || !strings.Contains(errs, tc.want) {
				t.Errorf("status %d, %s, want %q", status, errs, tc.want)
			}
		})
	}
	t.Run("scores of another checkpoint are not mixed in", func(t *testing.T) {
		out := write("other.csv", "image,score,mos,checkpoint,preprocess,sha256\n0.jpg,1,1,sha256:0,exact/1,0\n")
		_, errs, status := runCommand(t, nil, nil, append(args, "--out", out)...)
		if status != 1 || !strings.Contains(errs, "another checkpoint") {
			t.Errorf("status %d, %s", status, errs)
		}
	})
	t.Run("nor of another preprocessing", func(t *testing.T) {
		out := write(
			"other.csv",
			"image,score,mos,checkpoint,preprocess,sha256\n0.jpg,1,1,"+quality.DigestOf([]byte("judge")).
				String()+
				",exact/0,0\n",
		)
		_, errs, status := runCommand(t, nil, nil, append(args, "--out", out)...)
		if status != 1 || !strings.Contains(errs, "preprocessed in another way (exact/0)") {
			t.Errorf("status %d, %s", status, errs)
		}
	})
	t.Run("a file of an earlier version", func(t *testing.T) {
		out := write("other.csv", "image,score,mos,checkpoint\n0.jpg,1,1,sha256:0\n")
		_, errs, status := runCommand(t, nil, nil, append(args, "--out", out)...)
		if kept, err := os.ReadFile(out); status != 1 || !strings.Contains(errs, "does not have the columns") ||
			err != nil ||
			len(kept) == 0 {
			t.Errorf("status %d, %s; kept %q, %v", status, errs, kept, err)
		}
	})
}

// What is on disk decides, not what an earlier run scored under the same names.
func TestEvalScoresTheImagesOfTheFolder(t *testing.T) {
	var calls atomic.Int64
	server := scoreServer(t, &calls)
	first, second := t.TempDir(), t.TempDir()
	rows := "image,mos\n"
	for i, score := range []float64{1.5, 4.25, 2.125, 3.5, 0.5} {
		rows += fmt.Sprintf("%d,%v\n", i, score) // no suffix
		for folder, text := range map[string]string{first: fmt.Sprint(score), second: fmt.Sprint(10 - score)} {
			if err := os.WriteFile(filepath.Join(folder, fmt.Sprintf("%d.png", i)), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	dataset := filepath.Join(first, "data.csv")
	if err := os.WriteFile(dataset, []byte(rows), 0o600); err != nil {
		t.Fatal(err)
	}
	srcc := func(folder string, more ...string) (value float64, errs string) {
		t.Helper()
		calls.Store(0)
		out, errs, status := runCommand(
			t,
			nil,
			nil,
			append([]string{"eval", "--csv", dataset, "--images", folder, "--url", server.URL, "--json"}, more...)...)
		var report evalReport
		if err := json.Unmarshal([]byte(out), &report); err != nil || status != 0 {
			t.Fatalf("status %d, %v, %s%s", status, err, out, errs)
		}
		return math.Round(1e9*float64(report.Figures.SRCC.Value)) / 1e9, errs
	}
	for _, tc := range []struct {
		name, folder string
		more         []string
		srcc         float64
		sent         int64
	}{
		{"one folder", first, nil, 1, 5},
		{"again", first, nil, 1, 0},
		{"another folder under the same names", second, nil, -1, 5},
		{"another way of preprocessing", second, []string{"--preprocess", "fast"}, -1, 5},
		{"that again", second, []string{"--preprocess", "fast"}, -1, 0},
	} {
		got, errs := srcc(tc.folder, tc.more...)
		if got != tc.srcc || calls.Load() != tc.sent {
			t.Errorf(
				"%s: SRCC %v and %d images sent, want %v and %d\n%s",
				tc.name,
				got,
				calls.Load(),
				tc.srcc,
				tc.sent,
				errs,
			)
		}
	}
	fast, err := os.ReadFile(filepath.Join(first, "data.judge.fast.scores.csv"))
	if err != nil || !strings.Contains(string(fast), "\n0,17,1.5,") {
		t.Errorf("the scores of fast are %s (%v), want twice 8.5 first", fast, err)
	}
	if lines := strings.Count(string(fast), "\n"); lines != 6 {
		t.Errorf("%d lines, want a header and one of each image:\n%s", lines, fast)
	}
	for name, folder := range map[string]string{"no folder": filepath.Join(first, "none"), "a file": dataset} {
		_, errs, status := runCommand(t, nil, nil, "eval", "--csv", dataset, "--images", folder, "--url", server.URL)
		if status != 1 || !strings.Contains(errs, "--images: ") {
			t.Errorf("%s: status %d, %s", name, status, errs)
		}
	}
}
