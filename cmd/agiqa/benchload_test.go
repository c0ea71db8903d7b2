package main

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agiqa/agiqa/benchmarks/load"
)

// TestBenchHTTP is the contract of the command: one JSON document with these
// names, whole counts, nothing else in a pipe, and a folder of records that
// come to the same.
func TestBenchHTTP(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/score" || r.Method != http.MethodPost || r.ContentLength == 0 || r.Header.Get("X-Agiqa-Unit") == "" {
			http.Error(w, "not a scoring request", http.StatusBadRequest)
			return
		}
		if asked.Add(1)%5 == 0 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "out")
	out, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", server.URL, "--images", "examples", "--units", "3",
		"--rate", "100", "--duration", "500ms", "--connections", "4", "--seed", "9", "--json", "--out", dir)
	if status != 0 || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	lines := jsonLines(t, out)
	if len(lines) != 1 {
		t.Fatalf("%d documents: %s", len(lines), out)
	}
	doc := lines[0]
	for name, want := range map[string]float64{"scheduled": 50, "sent": 50, "completed": 40, "errors": 10, "dropped": 0, "unsent": 0} {
		if doc[name] != want {
			t.Errorf("%s is %v, want %v", name, doc[name], want)
		}
	}
	for name, members := range map[string][]string{"late_ms": {"p50", "p99", "max"}, "latency_ms": {"p50", "p95", "p99", "max"}} {
		for _, m := range members {
			if v, ok := doc[name].(map[string]any)[m].(float64); !ok || v < 0 {
				t.Errorf("%s.%s is %v", name, m, doc[name].(map[string]any)[m])
			}
		}
	}
	m, runs, err := load.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	again, err := json.Marshal(load.Summarise(runs[0]))
	if err != nil {
		t.Fatal(err)
	}
	if string(again)+"\n" != out {
		t.Errorf("records come to\n%s\nand the command printed\n%s", again, out)
	}
	if m.Seed != 9 || m.Kind != "http" || !strings.Contains(m.Command, "--rate=100") {
		t.Errorf("manifest %+v", m)
	}
	for _, name := range []string{"report.txt", "report.json"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBenchHTTPExitStatus(t *testing.T) {
	t.Parallel()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "busy", http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	out, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", busy.URL, "--method", "GET", "--rate", "20", "--duration", "500ms", "--json")
	if status != 1 || !strings.Contains(errs, "every request failed") || jsonLines(t, out)[0]["errors"] != 10.0 {
		t.Errorf("every request failed: status %d, %q, %s", status, errs, out)
	}
	if _, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", busy.URL, "--method", "GET", "--rate", "20", "--duration", "500ms", "--expect", "503"); status != 0 {
		t.Errorf("every answer was expected: status %d, %q", status, errs)
	}
	for _, args := range [][]string{
		{"--url", "http://192.0.2.1"}, {"--url", "http://localhost.example"}, {"--url", "ftp://127.0.0.1"},
		{"--rate", "0"}, {"--rate", "-1"}, {"--rate", "1e12"}, {"--duration", "0s"}, {"--connections", "0"}, {"--max-outstanding", "1"},
		{"--arrivals", "never"}, {"--profile", "x"}, {"--profile", "1@1s", "--rate", "3"}, {"--trace", "/nowhere"}, {"--images", "/nowhere"},
		{"--form", "fax"}, {"--pick", "best"}, {"--header", "nonsense"}, {"--header", "Content-Length: 5"}, {"--method", "GET /"},
		{"--formats", "tiff", "--sizes", "8"}, {"--closed", "-1"}, {"--units", "1", "--unit-header", "a b"},
	} {
		all := append([]string{"bench", "http", "--url", busy.URL, "--sizes", "8", "--duration", "100ms"}, args...)
		if _, errs, status := runCommand(t, nil, nil, all...); status != 1 || errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}

// TestBenchHTTPWithoutServer fails, with the counts.
func TestBenchHTTPWithoutServer(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	out, _, status := runCommand(t, nil, nil, "bench", "http", "--url", "http://"+l.Addr().String(), "--method", "GET", "--rate", "20", "--duration", "500ms", "--json")
	doc := jsonLines(t, out)[0]
	if status != 1 || doc["errors"] != 10.0 || doc["sent"] != 0.0 || doc["failures"].(map[string]any)["refused"] != 10.0 {
		t.Errorf("status %d, %s", status, out)
	}
}
