//go:build unix

package sqlstore_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

// TestKilled kills two processes that write to one file, at a random moment,
// and wants every record that they acknowledged, once.
func TestKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("starts processes; not run with -short")
	}
	t.Parallel()
	c := sqliteConfig(t)
	var mu sync.Mutex
	said := make(map[string]bool)
	for round := range 3 {
		open(t, c).Close() // the schema; the children then find the file as a crash left it
		var group sync.WaitGroup
		for process := range 2 {
			cmd := child(t, "append", c.Path, fmt.Sprintf("r%d-p%d", round, process))
			enough := 20 + rand.IntN(100)
			group.Go(func() {
				ids := acknowledged(t, cmd, enough)
				mu.Lock()
				defer mu.Unlock()
				for _, id := range ids {
					said[id] = true
				}
			})
		}
		group.Wait()
		found := everything(t, open(t, c), "x")
		for id := range said {
			if found[id] != 1 {
				t.Errorf("round %d: %s was acknowledged and is there %d times", round, id, found[id])
			}
		}
		for id, n := range found {
			if n != 1 {
				t.Errorf("round %d: %s is there %d times", round, id, n)
			}
		}
		t.Logf("round %d: %d acknowledged, %d found", round, len(said), len(found))
	}
}

// everything counts the records of an experiment by id.
func everything(t *testing.T, s *sqlstore.Store, id experiment.ID) map[string]int {
	t.Helper()
	found := make(map[string]int)
	for r, err := range s.Exposures(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		found[r.Record.ID]++
	}
	for r, err := range s.Feedback(t.Context(), id, 0) {
		if err != nil {
			t.Fatal(err)
		}
		found[r.Record.ID]++
	}
	return found
}

// TestTornLog spoils the end of the write-ahead log of a process that was
// killed, byte by byte and by cutting it. Whatever is read afterwards was
// written, in order and without a gap, and the store can be written.
func TestTornLog(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process; not run with -short")
	}
	t.Parallel()
	c := sqliteConfig(t)
	open(t, c).Close()
	acknowledged(t, child(t, "append", c.Path, "p"), 40)
	database, journal := read(t, c.Path), read(t, c.Path+"-wal")
	if len(journal) == 0 {
		t.Fatal("the killed process left no write-ahead log")
	}
	for _, test := range []struct {
		name  string
		spoil func([]byte) []byte
	}{
		{"untouched", func(b []byte) []byte { return b }},
		{"a byte short", func(b []byte) []byte { return b[:len(b)-1] }},
		{"half a frame short", func(b []byte) []byte { return b[:len(b)-2000] }},
		{"cut in the middle", func(b []byte) []byte { return b[:len(b)/2] }},
		{"empty", func(b []byte) []byte { return nil }},
		{"the last byte flipped", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
		{"a byte in the middle flipped", func(b []byte) []byte { b[len(b)/2] ^= 0x80; return b }},
		{"a header byte flipped", func(b []byte) []byte { b[9] ^= 1; return b }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := sqliteConfig(t)
			write(t, c.Path, database)
			write(t, c.Path+"-wal", test.spoil(append([]byte(nil), journal...)))
			s := open(t, c)
			var last int64
			for r, err := range s.Exposures(t.Context(), "x", 0) {
				if err != nil {
					t.Fatal(err)
				}
				var n int
				if _, err := fmt.Sscanf(r.Record.ID, "exposure-p-%d", &n); err != nil || r.Seq <= last {
					t.Errorf("%q at place %d after %d: %v", r.Record.ID, r.Seq, last, err)
				}
				last = r.Seq
			}
			if err := s.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("new", 1)}); err != nil {
				t.Errorf("append afterwards: %v", err)
			}
		})
	}
}

func TestFullDisk(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process; not run with -short")
	}
	t.Parallel()
	c := sqliteConfig(t)
	if output, err := child(t, "fill", c.Path, "").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	found := everything(t, open(t, c), "x")
	for n := range 5 {
		want := 0
		if n == 0 || n == 4 {
			want = 1
		}
		if id := storetest.NewExposure("x", n).ID; found[id] != want {
			t.Errorf("%s is there %d times, want %d", id, found[id], want)
		}
	}
}

func TestReadOnlyFile(t *testing.T) {
	if testing.Short() {
		t.Skip("starts a process; not run with -short")
	}
	t.Parallel()
	// Not below t.TempDir, which another user may not enter.
	dir, err := os.MkdirTemp("", "agiqa-sqlstore-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	program := filepath.Join(dir, "child")
	c := sqliteConfig(t)
	c.Path = filepath.Join(dir, "experiments.db")
	open(t, c).Close()
	for path, mode := range map[string]os.FileMode{c.Path: 0o444, dir: 0o555} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	cmd := child(t, "readonly", c.Path, "")
	if os.Geteuid() == 0 {
		// Root may write to anything.
		if err := os.Link(cmd.Path, program); err != nil {
			write(t, program, read(t, cmd.Path))
		}
		if err := os.Chmod(program, 0o755); err != nil {
			t.Fatal(err)
		}
		cmd.Path, cmd.Dir = program, dir
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	if output, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestFileGone takes the file away while it is open. SQLite would go on
// writing to it.
func TestFileGone(t *testing.T) {
	t.Parallel()
	c := sqliteConfig(t)
	s := open(t, c)
	one := func(n int) error {
		return s.AppendExposures(t.Context(), []experiment.Exposure{storetest.NewExposure("x", n)})
	}
	if err := one(1); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(c.Path, c.Path+".away"); err != nil {
		t.Fatal(err)
	}
	if err := one(2); quality.KindOf(err) != quality.KindStoreUnavailable {
		t.Errorf("append without the file: %v, want store_unavailable", err)
	}
	if err := os.Rename(c.Path+".away", c.Path); err != nil {
		t.Fatal(err)
	}
	if err := one(3); err != nil {
		t.Errorf("append when the file is back: %v", err)
	}
	if found := everything(t, s, "x"); found["exposure-x-1"] != 1 ||
		found["exposure-x-2"] != 0 || found["exposure-x-3"] != 1 {
		t.Errorf("found %v", found)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o644); err != nil {
		t.Fatal(err)
	}
}
