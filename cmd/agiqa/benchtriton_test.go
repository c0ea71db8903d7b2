package main

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/benchmarks/stubtriton"
	"github.com/agiqa/agiqa/benchmarks/stubtriton/stubtritontest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

// stubTriton runs a stub of the project's models until the test ends.
func stubTriton(t *testing.T) (address string) {
	t.Helper()
	return stubTritonOf(t, filepath.Join(repository, "model_repository"))
}

// stubTritonOf runs a stub of the models in a folder.
func stubTritonOf(t *testing.T, models string) (address string) {
	t.Helper()
	cfg := stubtriton.DefaultConfig()
	cfg.Repository = models
	return stubtritontest.Start(t, cfg)
}

func TestBenchTriton(t *testing.T) {
	t.Parallel()
	address := stubTriton(t)
	for _, model := range []string{"image-encoder", "head", "ensemble"} {
		out, errs, status := runCommand(t, nil, nil, "bench", "triton", "--triton", address, "--model", model, "--batch", "2",
			"--rate", "50", "--duration", "200ms", "--connections", "4", "--json")
		if status != 0 || errs != "" {
			t.Fatalf("%s: status %d, %s", model, status, errs)
		}
		doc := jsonLines(t, out)[0]
		items := 0.0
		for _, u := range doc["triton"].([]any) {
			if n := u.(map[string]any)["items"].(float64); n == 20 {
				items = n
			}
		}
		if doc["scheduled"] != 10.0 || doc["completed"] != 10.0 || items != 20 {
			t.Errorf("%s: %s", model, out)
		}
	}
	for _, args := range [][]string{
		{}, {"--triton", "192.0.2.1:8001"}, {"--triton", address, "--model", "oracle"}, {"--triton", address, "--batch", "0"},
		{"--triton", address, "--checkpoint", "../demo"}, {"--triton", address, "--checkpoint", "nobody"},
	} {
		if _, errs, status := runCommand(t, nil, nil, append([]string{"bench", "triton"}, args...)...); status != 1 ||
			errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}

// used says what a report tells of one of Triton's models.
func used(t *testing.T, report any, model string) map[string]any {
	t.Helper()
	uses, _ := report.(map[string]any)["triton"].([]any)
	for _, u := range uses {
		if use := u.(map[string]any); strings.HasPrefix(use["model"].(string), model) {
			return use
		}
	}
	t.Fatalf("%s is not in %v", model, report)
	return nil
}

// TestBenchTritonDirectly runs the commands of searches against Triton itself.
func TestBenchTritonDirectly(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	t.Cleanup(server.Close)
	const encoder, head, ensemble = "triton://STUB/image-encoder", "triton://STUB/head", "triton://STUB/ensemble"
	at := func(address string, args []string) []string {
		out := []string{"bench"}
		for _, a := range args {
			out = append(out, strings.ReplaceAll(a, "STUB", address))
		}
		return out
	}
	for name, c := range map[string]struct {
		args  []string
		check func(t *testing.T, doc map[string]any)
	}{
		"compare": {
			[]string{"compare", server.URL, encoder, "--method", "GET", "--batch", "2", "--rate", "50", "--duration", "100ms",
				"--pairs", "2", "--pause", "1ms"},
			func(t *testing.T, doc map[string]any) {
				a, b := doc["a"].(map[string]any), doc["b"].(map[string]any)
				use := used(t, b, "clip_image_encoder")
				if a["completed"] != 10.0 || a["triton"] != nil || b["completed"] != 10.0 || use["requests"] != 10.0 ||
					use["items"] != 20.0 || use["compute_ms"] == 0.0 {
					t.Errorf("%v", doc)
				}
				if !strings.HasSuffix(b["target"].(string), "/image-encoder, batch 2") {
					t.Errorf("B is %v", b["target"])
				}
			},
		},
		"knee": {
			[]string{"knee", head, "--rate", "20", "--max-rate", "20", "--duration", "200ms", "--pause",
				"1ms", "--objective", "10s"},
			func(t *testing.T, doc map[string]any) {
				probes := doc["probes"].([]any)
				report := probes[len(probes)-1].(map[string]any)["report"]
				if doc["rate"] != 20.0 || used(t, report, "prompt_head_")["requests"] != 8.0 {
					t.Errorf("%v", doc)
				}
			},
		},
		"overload": {
			[]string{"overload", ensemble, "--rate", "20", "--factor", "2", "--duration", "500ms", "--objective",
				"10s", "--checkpoint", "demo"},
			func(t *testing.T, doc map[string]any) {
				if used(t, doc["report"], "clip_agiqa_")["requests"] != 40.0 {
					t.Errorf("%v", doc)
				}
			},
		},
		"soak": {
			[]string{"soak", ensemble, "--rate", "20", "--duration", "500ms", "--every", "50ms"},
			func(t *testing.T, doc map[string]any) {
				if used(t, doc["report"], "clip_agiqa_")["requests"] != 10.0 {
					t.Errorf("%v", doc)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			address := stubTriton(t) // each its own: statistics are of whoever asks
			dir := filepath.Join(t.TempDir(), "out")
			out, errs, status := runCommand(t, nil, nil,
				append(at(address, c.args), "--connections", "8", "--seed", "3", "--json", "--out", dir)...)
			if status != 0 || errs != "" {
				t.Fatalf("status %d: %s", status, errs)
			}
			c.check(t, jsonLines(t, out)[0])
			m, _, err := load.Load(dir)
			if err != nil || !strings.Contains(fmt.Sprint(m.Versions), "triton://"+address) ||
				!strings.Contains(fmt.Sprint(m.Versions), "encoder:") {
				t.Errorf("%v; versions %v", err, m.Versions)
			}
			text, err := os.ReadFile(filepath.Join(dir, "report.txt"))
			if err != nil || !strings.Contains(string(text), "Triton's own statistics") {
				t.Errorf("%v: %s", err, text)
			}
		})
	}
	address := stubTriton(t)
	for _, c := range []struct {
		want string
		args []string
	}{
		{"--unique", []string{"knee", encoder, "--unique"}},
		{"--method", []string{"soak", encoder, "--method", "GET"}},
		{"--triton", []string{"knee", encoder, "--triton", "127.0.0.1:8001"}},
		{"--batch", []string{"overload", server.URL, "--batch", "2"}},
		{"batch", []string{"overload", encoder, "--batch", "0"}},
		{"--checkpoint", []string{"knee", ensemble, "--checkpoint", "demo,other"}},
		{"--checkpoint", []string{"knee", ensemble, "--checkpoint", "nobody"}},
		{"oracle", []string{"knee", "triton://STUB/oracle"}},
		{"triton://HOST:PORT/MODEL", []string{"knee", "triton://127.0.0.1/head"}},
		{"triton://HOST:PORT/MODEL", []string{"knee", encoder + "?batch=2"}},
		{"triton:///SOCKET/MODEL", []string{"knee", "triton:///head"}},
		{"--allow-remote", []string{"compare", server.URL, "triton://192.0.2.1:8001/head", "--method", "GET"}},
		{"setting url", []string{"http", "--url", encoder, "--method", "GET"}},
	} {
		_, errs, status := runCommand(t, nil, nil, append(at(address, c.args), "--duration", "100ms")...)
		if status != 1 || !strings.Contains(errs, c.want) {
			t.Errorf("%v: status %d, %q", c.args, status, errs)
		}
	}
}

// TestBenchHTTPBehind has a gateway of a few lines in front of a Triton: it
// asks for an embedding and tells how long that took.
func TestBenchHTTPBehind(t *testing.T) {
	t.Parallel()
	address := stubTriton(t)
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = []string{address}
	client, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	encoder, err := client.Describe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	pixels, err := quality.NewPixels(make([]byte, quality.PixelsLen))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		if _, err := client.EncodeImages(r.Context(), encoder, []quality.Pixels{pixels}); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		took := float64(time.Since(begun)) / 1e6
		fmt.Fprintf(w, `{"results":[{"error":null}],"timing_ms":{"encode":%f,"total":%f}}`, took, took)
	}))
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "out")
	out, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", server.URL,
		"--method", "GET", "--triton", address,
		"--rate", "40", "--duration", "500ms", "--json", "--out", dir)
	if status != 0 || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	doc := jsonLines(t, out)[0]
	split, _ := doc["split"].(map[string]any)
	if doc["completed"] != 20.0 || split == nil || split["requests"] != 20.0 {
		t.Fatalf("no split of 20 requests: %s", out)
	}
	stages, queue, compute, transfer := split["stages_ms"].(float64), split["queue_ms"].(float64),
		split["compute_ms"].(float64), split["transfer_ms"].(float64)
	if compute <= 0 || transfer <= 0 || math.Abs(stages-queue-compute-transfer) > 0.003 {
		t.Errorf("%v", split)
	}
	for _, name := range []string{"report.txt", "report.html"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), "transfer (what is left)") ||
			!strings.Contains(string(text), "clip_image_encoder") {
			t.Errorf("%s lacks the split: %v", name, err)
		}
	}

	out, errs, status = runCommand(t, nil, nil, "bench", "knee", server.URL, "--method", "GET", "--triton", address,
		"--rate", "20", "--max-rate", "20", "--duration", "200ms", "--pause", "1ms", "--objective",
		"10s", "--json", "--out", dir)
	if status != 0 {
		t.Fatalf("status %d, %s", status, errs)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "report.txt")); err != nil ||
		!strings.Contains(string(text), "in the last probe, server: encode, mean of 8 requests") {
		t.Errorf("report.txt lacks the split: %v\n%s", err, text)
	}
	for _, p := range jsonLines(t, out)[0]["probes"].([]any) {
		if report := p.(map[string]any)["report"].(map[string]any); report["split"] == nil {
			t.Errorf("a probe without a split: %v", report)
		}
	}

	for _, triton := range []string{"192.0.2.1:8001", "localhost.example:8001", address + ",192.0.2.1:8001", "127.0.0.1"} {
		_, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", server.URL, "--method", "GET", "--triton",
			triton, "--duration", "100ms")
		if status != 1 || !strings.Contains(errs, "triton") {
			t.Errorf("--triton %s: status %d, %q", triton, status, errs)
		}
	}
}
