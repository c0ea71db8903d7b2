package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestSummary: the table of a whole run is what its reports give. The run is that
// of 2026-11-27 at f4a4b35.
func TestSummary(t *testing.T) {
	kept, err := filepath.Glob("testdata/*/summary.txt")
	if err != nil || len(kept) == 0 {
		t.Fatalf("no run in testdata: %v", err)
	}
	for _, name := range kept {
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		if err := summarise(&got, filepath.Dir(name)); err != nil {
			t.Errorf("%s: %v", name, err)
		} else if diff := cmp.Diff(string(want), got.String()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestWhatIsMissingIsNamed(t *testing.T) {
	dir := t.TempDir()
	if err := summarise(new(bytes.Buffer), dir); err == nil ||
		!bytes.Contains([]byte(err.Error()), []byte("preprocess-before")) {
		t.Errorf("error %v", err)
	}
}
