package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
)

func TestURLsAreRefused(t *testing.T) {
	for _, command := range [][]string{{"score"}, {"compare"}, {"preprocess", "--out", t.TempDir()}} {
		_, errs, status := runCommand(t, nil, nil, append(command, "http://127.0.0.1:1/x.png")...)
		if status != 1 || !strings.Contains(errs, "http://127.0.0.1:1/x.png: images are not fetched") ||
			strings.Count(errs, "\n") != 1 {
			t.Errorf("%s: status %d, %s", command[0], status, errs)
		}
	}
}

// A folder as people have it, through a whole command: nothing hangs, the
// pictures are done, and the rest is named in one line.
func TestPreprocessAFolderAsPeopleHaveIt(t *testing.T) {
	png := testimages.PNG(8, 8)
	in := testimages.Tree(
		t,
		map[string][]byte{
			"a.png":          png,
			"sd1.5":          png,
			"sd1.6":          png,
			"._a.png":        png,
			"__MACOSX/b.png": png,
			"notes.txt":      nil,
		},
	)
	if err := syscall.Mkfifo(filepath.Join(in, "x.jpg"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(in, filepath.Join(in, "loop")); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	_, errs, status := runCommand(t, nil, nil, "preprocess", in, "--out", out)
	entries, err := os.ReadDir(out)
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	want := []string{"a.npy", "sd1.5.npy", "sd1.6.npy"}
	if err != nil || status != 0 || !slices.Equal(got, want) {
		t.Errorf("status %d, wrote %q (%v), want %q", status, got, err, want)
	}
	if strings.Count(errs, "\n") != 1 || !strings.HasPrefix(errs, "agiqa: skipped 4 entries: ") ||
		!strings.Contains(errs, "x.jpg (not a regular file)") {
		t.Errorf("stderr is %q", errs)
	}
}
