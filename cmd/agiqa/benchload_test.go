package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/internal/proctest"
)

// TestBenchHTTP is the contract of the command: one JSON document with these
// names, whole counts, nothing else in a pipe, and a folder of records that
// come to the same.
func TestBenchHTTP(t *testing.T) {
	t.Parallel()
	var asked atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/score" || r.Method != http.MethodPost || r.ContentLength == 0 ||
			r.Header.Get("X-Agiqa-Unit") == "" {
			http.Error(w, "not a scoring request", http.StatusBadRequest)
			return
		}
		if asked.Add(1)%5 == 0 {
			http.Error(w, "busy", http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "out")
	out, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", server.URL,
		"--images", "examples", "--units", "3",
		"--rate", "100", "--duration", "500ms", "--connections", "4", "--seed", "9", "--json", "--out", dir)
	if status != 0 || errs != "" {
		t.Fatalf("status %d, %s", status, errs)
	}
	lines := jsonLines(t, out)
	if len(lines) != 1 {
		t.Fatalf("%d documents: %s", len(lines), out)
	}
	doc := lines[0]
	for name, want := range map[string]float64{"scheduled": 50, "sent": 50, "completed": 40,
		"errors": 10, "dropped": 0, "unsent": 0} {
		if doc[name] != want {
			t.Errorf("%s is %v, want %v", name, doc[name], want)
		}
	}
	for name, members := range map[string][]string{"late_ms": {"p50", "p99", "max"},
		"latency_ms": {"p50", "p95", "p99", "max"}} {
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
	for _, name := range []string{"report.txt", "report.json", "report.html", "latency.svg", "latency-000.hgrm"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBenchReportRefusesNonsense(t *testing.T) {
	t.Parallel()
	if _, errs, status := runCommand(t, nil, nil, "bench", "report", t.TempDir()); status != 1 || errs == "" {
		t.Errorf("status %d, %q", status, errs)
	}
}

func TestBenchHTTPExitStatus(t *testing.T) {
	t.Parallel()
	busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "busy", http.StatusServiceUnavailable)
	}))
	defer busy.Close()
	out, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", busy.URL, "--method", "GET", "--rate", "20",
		"--duration", "500ms", "--json")
	if status != 1 || !strings.Contains(errs, "every request failed") || jsonLines(t, out)[0]["errors"] != 10.0 {
		t.Errorf("every request failed: status %d, %q, %s", status, errs, out)
	}
	if _, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", busy.URL, "--method", "GET", "--rate", "20",
		"--duration", "500ms", "--expect", "503"); status != 0 {
		t.Errorf("every answer was expected: status %d, %q", status, errs)
	}
	for _, args := range [][]string{
		{"--url", "http://192.0.2.1"}, {"--url", "http://localhost.example"}, {"--url", "ftp://127.0.0.1"},
		{"--rate", "0"}, {"--rate", "-1"}, {"--rate", "1e12"}, {"--duration", "0s"},
		{"--connections", "0"}, {"--max-outstanding", "1"},
		{"--arrivals", "never"}, {"--profile", "x"}, {"--profile", "1@1s", "--rate", "3"},
		{"--trace", "/nowhere"}, {"--images", "/nowhere"},
		{"--form", "fax"}, {"--pick", "best"}, {"--header", "nonsense"},
		{"--header", "Content-Length: 5"}, {"--method", "GET /"},
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
	nobody := proctest.Loopback(proctest.FreePort(t))
	out, _, status := runCommand(t, nil, nil, "bench", "http", "--url", "http://"+nobody, "--method", "GET",
		"--rate", "20", "--duration", "500ms", "--json")
	doc := jsonLines(t, out)[0]
	if status != 1 || doc["errors"] != 10.0 || doc["sent"] != 0.0 || doc["failures"].(map[string]any)["refused"] != 10.0 {
		t.Errorf("status %d, %s", status, out)
	}
}

// TestBenchStub measures the generator itself.
func TestBenchStub(t *testing.T) {
	t.Parallel()
	out, errs, status := runCommand(t, nil, nil, "bench", "http", "--stub", "--method", "GET", "--rate", "100",
		"--duration", "200ms", "--json")
	if doc := jsonLines(t, out)[0]; status != 0 || errs != "" || doc["completed"] != 20.0 || doc["own_late_ms"] == nil {
		t.Errorf("status %d, %s, %s", status, errs, out)
	}
	out, errs, status = runCommand(t, nil, nil, "bench", "http", "--stub", "--method", "GET", "--closed", "2",
		"--duration", "100ms", "--json")
	if doc := jsonLines(t, out)[0]; status != 0 || doc["loop"] != "closed" || len(doc["warnings"].([]any)) == 0 {
		t.Errorf("status %d, %s, %s", status, errs, out)
	}
}

// TestBenchSearches runs every command that sends load against a small server,
// for moments, and reads its document.
func TestBenchSearches(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/metrics" {
			fmt.Fprintln(w, "go_goroutine_count 7")
		}
	}))
	t.Cleanup(server.Close)
	pid := strconv.Itoa(os.Getpid())
	common := []string{"--method", "GET", "--connections", "8", "--seed", "3", "--json"}
	for name, c := range map[string]struct {
		args  []string
		check func(t *testing.T, doc map[string]any)
	}{
		"compare": {
			[]string{server.URL, server.URL, "--rate", "50", "--duration", "100ms", "--pairs", "2", "--pause", "1ms",
				"--pid-a", pid, "--pid-b", pid},
			func(t *testing.T, doc map[string]any) {
				a, b := doc["a"].(map[string]any), doc["b"].(map[string]any)
				ratio := doc["ratios"].(map[string]any)["latency_p50"].(map[string]any)
				if a["completed"] != 10.0 || b["completed"] != 10.0 || ratio["pairs"] != 2.0 ||
					a["process"].(map[string]any)["rss_kb"] == 0.0 {
					t.Errorf("%v", doc)
				}
			},
		},
		"knee": {
			[]string{server.URL, "--rate", "20", "--max-rate", "40", "--duration", "200ms", "--pause", "1ms",
				"--objective", "10s", "--pid", pid},
			func(t *testing.T, doc map[string]any) {
				probes := doc["probes"].([]any)
				if doc["rate"] != 40.0 || len(probes) != 3 {
					t.Errorf("%v", doc)
				}
				process, _ := probes[2].(map[string]any)["report"].(map[string]any)["process"].(map[string]any)
				if process == nil || process["rss_kb"] == 0.0 || process["cpu_s"].(float64) > 0 &&
					doc["cpu_s_per_1000"] != process["cpu_s_per_1000"] {
					t.Errorf("process %v, at the knee %v", process, doc["cpu_s_per_1000"])
				}
			},
		},
		"overload": {
			[]string{server.URL, "--rate", "20", "--factor", "2", "--duration", "500ms", "--objective", "10s"},
			func(t *testing.T, doc map[string]any) {
				phases := doc["phases"].([]any)
				if during := phases[1].(map[string]any); len(phases) != 3 ||
					during["completed"] != 20.0 || doc["recovery_s"] != 0.0 {
					t.Errorf("%v", doc)
				}
			},
		},
		"soak": {
			[]string{server.URL, "--rate", "20", "--duration", "500ms", "--every", "50ms", "--pid", pid,
				"--metrics", server.URL + "/metrics"},
			func(t *testing.T, doc map[string]any) {
				trends := doc["trends"].(map[string]any)
				if g := trends["goroutines"].(map[string]any); g["last"] != 7.0 || trends["fds"] == nil || trends["rss_kb"] == nil {
					t.Errorf("%v", doc)
				}
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "out")
			args := append(append([]string{"bench", name}, c.args...), append(common, "--out", dir)...)
			out, errs, status := runCommand(t, nil, nil, args...)
			if status != 0 || errs != "" {
				t.Fatalf("status %d: %s", status, errs)
			}
			c.check(t, jsonLines(t, out)[0])
			page := filepath.Join(dir, "all.html")
			out, errs, status = runCommand(t, nil, nil, "bench", "report", dir, dir, "--json", "--html", page)
			if reports, _ := jsonLines(t, out)[0]["reports"].([]any); status != 0 || len(reports) < 2 {
				t.Errorf("status %d, %s, %s", status, errs, out)
			}
			if info, err := os.Stat(page); err != nil || info.Size() < 1000 {
				t.Errorf("%v", err)
			}
		})
	}
}
