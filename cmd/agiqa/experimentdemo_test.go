package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
)

// TestExperimentDemo runs the demonstration on a real server, with fewer images. It
// fails by itself unless the server promotes, the log gives the report again, and the
// rollback brings the control back. The race detector would make it three times as
// long, most of it resampling, so the program is built without.
func TestExperimentDemo(t *testing.T) {
	t.Parallel()
	needsTriton(t)
	program, out := buildProgram(t), filepath.Join(t.TempDir(), "out")
	cmd := exec.CommandContext(t.Context(), program, "experiment", "demo", "--quick", "--out", out)
	cmd.Dir = repository
	raw, err := cmd.CombinedOutput()
	text := string(raw)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, want := range []string{
		"promote by server: running to promoted", "the log gives the report's numbers, bit by bit",
		"The server promoted candidate by itself",
		"everybody is answered by current again",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	for _, name := range []string{"definition.yaml", "report.json", "report.html", "report.png"} {
		if info, err := os.Stat(filepath.Join(out, "better", name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
}

func TestPrintAudit(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	printAudit(&b, experiment.Audit{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Revision: 3, Action: "promote", By: "server",
		From: experiment.Running, To: experiment.Promoted, Detail: "checkpoint b",
		Numbers: map[string]string{"low": "0.1", "effect": "0.2"},
	})
	want := "2026-01-02 03:04:05  3  promote by server: running to promoted (checkpoint b)\n    effect  0.2\n    low  " +
		"0.1\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
