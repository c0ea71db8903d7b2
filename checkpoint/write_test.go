package checkpoint_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/quality"
)

func TestWriteBundle(t *testing.T) {
	b := newDraft("a", 1).bundle(t)
	parent := t.TempDir()
	first, second := filepath.Join(parent, "first"), filepath.Join(parent, "second")
	for _, dir := range []string{first, second, first} { // the last finds what it would write
		if err := checkpoint.WriteBundle(b, dir); err != nil {
			t.Fatalf("%s: %v", dir, err)
		}
	}
	for _, name := range []string{checkpoint.ManifestFile, checkpoint.WeightsFile} {
		one, err := os.ReadFile(filepath.Join(first, name))
		if err != nil {
			t.Fatal(err)
		}
		two, err := os.ReadFile(filepath.Join(second, name))
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(one, two) {
			t.Errorf("%s differs between two writings", name)
		}
	}
	read, err := checkpoint.Open(second, checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := read.Checkpoint(), b.Checkpoint(); got != want {
		t.Errorf("read back: %+v, want %+v", got, want)
	}
	entries, err := os.ReadDir(parent)
	if err != nil || len(entries) != 2 {
		t.Errorf("%d entries beside the bundles, want the two alone (error %v)", len(entries), err)
	}

	other := newDraft("a", 2).bundle(t)
	if err := checkpoint.WriteBundle(other, first); quality.KindOf(err) != quality.KindConflict {
		t.Errorf("another bundle over it: error is %v, want kind %s", err, quality.KindConflict)
	}
	if err := checkpoint.WriteBundle(b, filepath.Join(parent, "none", "x")); err == nil {
		t.Error("a parent that does not exist: no error")
	}
}

// A folder that a crash has left half-written is not a bundle.
func TestLoadDirPassesOverHidden(t *testing.T) {
	parent := t.TempDir()
	for name, seed := range map[string]uint64{"a": 1, ".a.new-1": 1} {
		if err := checkpoint.WriteBundle(newDraft("a", seed).bundle(t), filepath.Join(parent, name)); err != nil {
			t.Fatal(err)
		}
	}
	r, err := checkpoint.LoadDir(parent, "", checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(r.List()); got != 1 {
		t.Errorf("%d bundles, want 1", got)
	}
}
