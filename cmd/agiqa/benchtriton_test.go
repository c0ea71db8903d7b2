package main

import (
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/stubtriton"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/tritonclient"
)

// stubTriton runs a stub of the project's models until the test ends.
func stubTriton(t *testing.T) (address string) {
	t.Helper()
	cfg := stubtriton.DefaultConfig()
	cfg.Repository = filepath.Join(repository, "model_repository")
	s, err := stubtriton.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return l.Addr().String()
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
		if _, errs, status := runCommand(t, nil, nil, append([]string{"bench", "triton"}, args...)...); status != 1 || errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}

// TestBenchHTTPBehind has a gateway of a few lines in front of a Triton: it
// asks for an embedding and tells how long that took.
func TestBenchHTTPBehind(t *testing.T) {
	t.Parallel()
	address := stubTriton(t)
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses, cfg.SharedMemory = []string{address}, tritonclient.SharedMemoryOff
	client, err := tritonclient.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Describe(t.Context()); err != nil {
		t.Fatal(err)
	}
	pixels, err := quality.NewPixels(make([]byte, quality.PixelsLen))
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		begun := time.Now()
		if _, err := client.EncodeImages(r.Context(), []quality.Pixels{pixels}); err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		took := float64(time.Since(begun)) / 1e6
		fmt.Fprintf(w, `{"results":[{"error":null}],"timing_ms":{"encode":%f,"total":%f}}`, took, took)
	}))
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "out")
	out, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", server.URL, "--method", "GET", "--triton", address,
		"--rate", "40", "--duration", "500ms", "--json", "--out", dir)
	if status != 0 || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	doc := jsonLines(t, out)[0]
	split, _ := doc["split"].(map[string]any)
	if doc["completed"] != 20.0 || split == nil || split["requests"] != 20.0 {
		t.Fatalf("no split of 20 requests: %s", out)
	}
	stages, queue, compute, transfer := split["stages_ms"].(float64), split["queue_ms"].(float64), split["compute_ms"].(float64), split["transfer_ms"].(float64)
	if compute <= 0 || transfer <= 0 || math.Abs(stages-queue-compute-transfer) > 0.003 {
		t.Errorf("%v", split)
	}
	for _, name := range []string{"report.txt", "report.html"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil || !strings.Contains(string(text), "transfer (what is left)") || !strings.Contains(string(text), "clip_image_encoder") {
			t.Errorf("%s lacks the split: %v", name, err)
		}
	}

	out, errs, status = runCommand(t, nil, nil, "bench", "knee", server.URL, "--method", "GET", "--triton", address,
		"--rate", "20", "--max-rate", "20", "--duration", "200ms", "--pause", "1ms", "--objective", "10s", "--json", "--out", dir)
	if status != 0 {
		t.Fatalf("status %d, %s", status, errs)
	}
	if text, err := os.ReadFile(filepath.Join(dir, "report.txt")); err != nil || !strings.Contains(string(text), "in the last probe, server: encode, mean of 8 requests") {
		t.Errorf("report.txt lacks the split: %v\n%s", err, text)
	}
	for _, p := range jsonLines(t, out)[0]["probes"].([]any) {
		if report := p.(map[string]any)["report"].(map[string]any); report["split"] == nil {
			t.Errorf("a probe without a split: %v", report)
		}
	}

	for _, triton := range []string{"192.0.2.1:8001", "localhost.example:8001", address + ",192.0.2.1:8001", "127.0.0.1"} {
		_, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", server.URL, "--method", "GET", "--triton", triton, "--duration", "100ms")
		if status != 1 || !strings.Contains(errs, "triton") {
			t.Errorf("--triton %s: status %d, %q", triton, status, errs)
		}
	}
}
