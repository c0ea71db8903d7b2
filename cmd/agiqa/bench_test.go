package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/benchmarks/preprocess"
)

func TestBenchPreprocess(t *testing.T) {
	dir := t.TempDir()
	out, errs, status := runCommand(t, nil, nil, "bench", "preprocess", "--sizes", "60", "--rounds", "2", "--cpu",
		"-1", "--json", "--out", dir)
	if status != 0 {
		t.Fatalf("status %d: %s", status, errs)
	}
	var r preprocess.Report
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if len(r.Results) != 3 || r.Manifest.Commit == "" || r.Manifest.Ours["go"] == "" ||
		!strings.Contains(r.Manifest.Command, "--rounds=2") ||
		!strings.Contains(r.Manifest.Command, "--out=$TMPDIR/") {
		t.Errorf("report %+v", r)
	}
	for _, name := range []string{"results.json", "results.txt", "results.svg"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestBenchPreprocessRefusesNonsense(t *testing.T) {
	for _, args := range [][]string{
		{"--rounds", "0"}, {"--sizes", "0"}, {"--against", "imagemagick"}, {"--images", "/nowhere", "--cpu", "-1"},
		{"--against", "pillow", "--python", "/nowhere/python", "--cpu", "-1"},
	} {
		if _, errs, status := runCommand(t, nil, nil, append([]string{"bench", "preprocess"}, args...)...); status != 1 ||
			errs == "" {
			t.Errorf("%v: status %d, %q", args, status, errs)
		}
	}
}
