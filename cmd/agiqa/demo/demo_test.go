package demo

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

// What the whole demonstration sends is a definition that its server must accept.
func TestDefinitions(t *testing.T) {
	t.Parallel()
	for _, p := range phases() {
		x, err := experiment.Parse([]byte(p.definition(400)))
		if err != nil {
			t.Fatalf("%s: %v", p.id, err)
		}
		if string(x.ID) != p.id || x.Auto != experiment.AutoAct || !x.BlindOnly || x.MinLabels != 300 ||
			x.MinDuration != time.Second ||
			len(x.Arms) != 2 || x.Arms[0].Checkpoint != "current" || x.Arms[1].Checkpoint != p.treatment {
			t.Errorf("%s: %+v", p.id, x)
		}
	}
}

func TestFolder(t *testing.T) {
	t.Parallel()
	s := config.Default()
	s.DataDir = t.TempDir()
	one, err := makeFolder(s, "")
	if err != nil {
		t.Fatal(err)
	}
	if two, err := makeFolder(s, ""); err != nil || two == one ||
		filepath.Dir(one) != filepath.Join(s.DataDir, "demo-experiment") {
		t.Errorf("%s and %s: %v", one, two, err)
	}
	if _, err := makeFolder(s, one); err != nil {
		t.Errorf("an empty folder: %v", err)
	}
	if err := os.Mkdir(filepath.Join(one, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := makeFolder(s, one); err == nil {
		t.Error("a folder with a store: no error")
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	effect, low, high := 0.0314, -0.01, 0.07
	s := gateway.ExperimentStatus{
		Experiment: experiment.Experiment{State: experiment.Running},
		Counts:     map[string]int{"images_labelled_blind": 80, "labels": 400},
		Arms:       []gateway.ArmStatus{{Arm: "b", Effect: &effect}},
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
