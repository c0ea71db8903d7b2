package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The demonstration's experiment with equal arms, at its smallest, from import to
// replay: no decision.
func TestExperimentDemo(t *testing.T) {
	needsTriton(t)
	t.Parallel()
	out := filepath.Join(t.TempDir(), "demo")
	stdout, stderr, status := runCommand(t, nil, nil, "experiment", "demo", "--equal", "--count", "120", "--out", out)
	if status != 0 {
		t.Fatalf("status %d\n%s\n%s", status, stdout, stderr)
	}
	for _, line := range []string{
		"the log gives the report's numbers, bit by bit", "120 of them with blind labels by 20 raters",
		"No decision after 120 images with 600 ratings", "It ended as must be",
	} {
		if !strings.Contains(stdout, line) {
			t.Errorf("the output lacks %q", line)
		}
	}
	if strings.Contains(stdout, "promoted: ") || t.Failed() {
		t.Errorf("output:\n%s\n%s", stdout, stderr)
	}
	for _, name := range []string{"report.json", "report.html", "report.png", "definition.yaml"} {
		if info, err := os.Stat(filepath.Join(out, "equal", name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, stderr, status := runCommand(t, nil, nil, "experiment", "demo", "--out", out); status == 0 || !strings.Contains(stderr, "earlier demonstration") {
		t.Errorf("the same folder again: status %d, %s", status, stderr)
	}
}
