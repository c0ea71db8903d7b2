package cli_test

import (
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/testimages"
)

func TestWalkSelectsImages(t *testing.T) {
	png, jpg := testimages.PNG(8, 8), testimages.JPEG(8, 8)
	elsewhere := testimages.Tree(t, map[string][]byte{"far.png": png, "more/farther.png": png})
	root := testimages.Tree(t, map[string][]byte{
		"a.JPG": jpg, "b.jfif": jpg, "no-suffix": png, "sd1.5": jpg, "text": []byte("text"), "notes.txt": []byte("notes"),
		"._a.jpg": []byte("metadata"), "__MACOSX/a.jpg": jpg, "sub/c.png": png, "empty": nil,
	})
	for _, err := range []error{
		syscall.Mkfifo(filepath.Join(root, "pipe.jpg"), 0o644),
		os.Symlink(elsewhere, filepath.Join(root, "linked")),
		os.Symlink(root, filepath.Join(root, "sub", "loop")),
		os.Symlink(filepath.Join(root, "sub"), filepath.Join(root, "again")),
		os.Symlink(filepath.Join(root, "a.JPG"), filepath.Join(root, "one.jpg")),
		os.Symlink("self.jpg", filepath.Join(root, "self.jpg")),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	for name, arg := range map[string]string{"folder": root, "link to it": linkTo(t, root)} {
		t.Run(name, func(t *testing.T) {
			s, err := cli.OnDisk(arg)
			if err != nil {
				t.Fatal(err)
			}
			below := func(path string) string { return strings.TrimPrefix(path, arg+"/") }
			var got, skipped []string
			for _, p := range s.List {
				got = append(got, below(p.Path))
			}
			for _, text := range s.Skipped {
				skipped = append(skipped, below(text))
			}
			want := []string{
				"a.JPG",
				"b.jfif",
				"no-suffix",
				"one.jpg",
				"sd1.5",
				"sub/c.png",
				"linked/far.png",
				"linked/more/farther.png",
			}
			if !slices.Equal(got, want) {
				t.Errorf("selected %q,\n    want %q", got, want)
			}
			want = []string{
				"._a.jpg (macOS metadata)", "__MACOSX (macOS metadata)", "empty (not an image)", "notes.txt (not an image)",
				"pipe.jpg (not a regular file)", "text (not an image)",
			}
			if !slices.Equal(skipped, want) {
				t.Errorf("skipped %q,\n   want %q", skipped, want)
			}
			if len(s.Unreadable) != 1 || !strings.Contains(s.Unreadable[0].Error(), "self.jpg") {
				t.Errorf("unreadable: %v, want the link to itself", s.Unreadable)
			}
		})
	}
}

func linkTo(t *testing.T, path string) string {
	t.Helper()
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(path, link); err != nil {
		t.Fatal(err)
	}
	return link
}

// asOrdinaryUser takes root's right to read everything from the goroutine, which
// has its thread for itself from then on.
func asOrdinaryUser() error {
	if os.Geteuid() != 0 {
		return nil
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	return syscall.Setfsuid(65534)
}

func TestUnreadableFolderIsNamed(t *testing.T) {
	root := testimages.Tree(t, map[string][]byte{"a.png": testimages.PNG(8, 8), "closed/b.png": testimages.PNG(8, 8)})
	for path, mode := range map[string]os.FileMode{filepath.Dir(root): 0o755, root: 0o755,
		filepath.Join(root, "closed"): 0} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(root, "closed"), 0o755) })
	got := make(chan cli.Selection)
	go func() {
		if err := asOrdinaryUser(); err != nil {
			t.Error(err)
		}
		got <- cli.Walk(root)
	}()
	s := <-got
	if len(s.List) != 1 || len(s.Unreadable) != 1 || !strings.Contains(s.Unreadable[0].Error(), "closed") {
		t.Fatalf("selected %v, unreadable %v, want one image and the closed folder", s.List, s.Unreadable)
	}
	if err := s.Outcome(0, "scored"); err == nil || err.Error() != "1 entry of folders could not be read" {
		t.Errorf("the command ends with %v", err)
	}
}

func TestSkippedEntriesAreNamedOnce(t *testing.T) {
	var text strings.Builder
	terminal := &cli.Terminal{Err: &text}
	cli.Selection{Skipped: []string{"a (x)"}}.Note(terminal)
	cli.Selection{Skipped: []string{"a (x)", "b (x)", "c (x)", "d (x)", "e (x)", "f (x)", "g (x)"}}.Note(terminal)
	cli.Selection{}.Note(terminal)
	want := "agiqa: skipped 1 entry: a (x)\nagiqa: skipped 7 entries: a (x), b (x), c (x), d (x), e (x) and 2 more\n"
	if text.String() != want {
		t.Errorf("got  %q\nwant %q", text.String(), want)
	}
}
