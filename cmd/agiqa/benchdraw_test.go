package main

import (
	"bytes"
	"encoding/json"
	"image/jpeg"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
)

func TestBenchDraw(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "images")
	if out, errs, status := runCommand(t, nil, nil, "bench", "draw", "--sizes", "20,30", "--copies",
		"3", "--out", dir); status != 0 {
		t.Fatalf("status %d: %s%s", status, out, errs)
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.jpeg"))
	if err != nil || len(files) != 6 {
		t.Fatalf("%v, %v", files, err)
	}
	seen := map[string]bool{}
	sides := map[int]int{}
	for _, name := range files {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		c, err := jpeg.DecodeConfig(bytes.NewReader(data))
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		seen[string(data)] = true
		sides[c.Width]++
	}
	if len(seen) != 6 || sides[20] != 3 || sides[30] != 3 {
		t.Errorf("%d different files, by side %v", len(seen), sides)
	}
	for _, args := range [][]string{{"--copies", "0"}, {"--sizes", "0"}, {"--formats", "bmp"}, {"--out", files[0]}} {
		if _, errs, status := runCommand(t, nil, nil, append([]string{"bench", "draw", "--sizes", "8", "--out", t.TempDir()},
			args...)...); status != 1 || errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}

func TestBenchReportAroundAnEvent(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "run")
	if _, errs, status := runCommand(t, nil, nil, "bench", "http", "--url", server.URL, "--method", "GET", "--rate", "100",
		"--duration", "500ms", "--seed", "1", "--out", dir); status != 0 {
		t.Fatal(errs)
	}
	_, runs, err := load.Load(dir)
	if err != nil {
		t.Fatal(err)
	}
	at := runs[0].Started.Add(205 * time.Millisecond).Format(time.RFC3339Nano)
	out, errs, status := runCommand(t, nil, nil, "bench", "report", dir, "--event", at, "--window", "100ms", "--json")
	var a load.Around
	if err := json.Unmarshal([]byte(out), &a); status != 0 || err != nil {
		t.Fatalf("status %d, %v: %s", status, err, errs)
	}
	if a.Before.Completed != 10 || a.After.Completed != 10 || a.Scheduled != 50 || a.Bad != 0 || a.AddedP99MS == nil {
		t.Errorf("%+v", a)
	}
	for _, args := range [][]string{{"--event", "noon"}, {"--event", at}, {"--event", at, "--window", "0s"}} {
		if _, errs, status := runCommand(t, nil, nil, append([]string{"bench", "report", dir}, args...)...); status != 1 ||
			errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}
