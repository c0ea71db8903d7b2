package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

// TestExperimentDemo runs the demonstration on a real server, with fewer images. It
// fails by itself unless the server promotes, the log gives the report again, and the
// rollback brings the control back. The race detector would make it three times as
// long, most of it resampling, so the program is built without.
func TestExperimentDemo(t *testing.T) {
	t.Parallel()
	needsTriton(t)
	dir := t.TempDir()
	program, out := filepath.Join(dir, "agiqa"), filepath.Join(dir, "out")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	cmd := exec.CommandContext(t.Context(), program, "experiment", "demo", "--quick", "--out", out)
	cmd.Dir = repository
	raw, err := cmd.CombinedOutput()
	text := string(raw)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, want := range []string{
		"promote by server: running to promoted", "the log gives the report's numbers, bit by bit", "The server promoted candidate by itself",
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

// What the whole demonstration sends is a definition that its server must accept.
func TestDemoDefinitions(t *testing.T) {
	t.Parallel()
	for _, p := range demoPhases() {
		x, err := experiment.Parse([]byte(p.definition(400)))
		if err != nil {
			t.Fatalf("%s: %v", p.id, err)
		}
		if string(x.ID) != p.id || x.Auto != experiment.AutoAct || !x.BlindOnly || x.MinLabels != 300 || x.MinDuration != time.Second ||
			len(x.Arms) != 2 || x.Arms[0].Checkpoint != "current" || x.Arms[1].Checkpoint != p.treatment {
			t.Errorf("%s: %+v", p.id, x)
		}
	}
}

func TestDemoFolder(t *testing.T) {
	t.Parallel()
	s := config.Default()
	s.DataDir = t.TempDir()
	one, err := demoFolder(s, "")
	if err != nil {
		t.Fatal(err)
	}
	if two, err := demoFolder(s, ""); err != nil || two == one || filepath.Dir(one) != filepath.Join(s.DataDir, "demo-experiment") {
		t.Errorf("%s and %s: %v", one, two, err)
	}
	if _, err := demoFolder(s, one); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	mustDo(t, os.Mkdir(filepath.Join(one, "data"), 0o755))
	if _, err := demoFolder(s, one); err == nil {
		t.Error("a folder with a store: no error")
	}
}

func TestDemoTable(t *testing.T) {
	t.Parallel()
	effect, low, high := 0.0314, -0.01, 0.07
	s := gateway.ExperimentStatus{
		Experiment: experiment.Experiment{State: experiment.Running},
		Counts:     map[string]int{"images_labelled_blind": 80, "labels": 400}, Arms: []gateway.ArmStatus{{Arm: "b", Effect: &effect}},
	}
	if got, want := tableLine(s), "    80      400  +0.0314  none before 100     continue"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Arms[0].Low, s.Arms[0].High, s.Recommends = &low, &high, "b"
	if got, want := tableLine(s), "    80      400  +0.0314  -0.0100 to +0.0700  ready: b"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	s.Experiment.State, s.Experiment.Winner = experiment.Promoted, "b"
	if got := tableLine(s); !strings.HasSuffix(got, "  promoted: b") {
		t.Errorf("got %q", got)
	}
}

func TestPrintAudit(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	printAudit(&b, experiment.Audit{
		Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Revision: 3, Action: "promote", By: "server",
		From: experiment.Running, To: experiment.Promoted, Detail: "checkpoint b", Numbers: map[string]string{"low": "0.1", "effect": "0.2"},
	})
	want := "2026-01-02 03:04:05  3  promote by server: running to promoted (checkpoint b)\n    effect  0.2\n    low  0.1\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}
