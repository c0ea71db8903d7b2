package lockfile_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/agiqa/agiqa/internal/lockfile"
)

const holdFile = "LOCKFILE_TEST_HOLD"

// TestMain makes the test binary hold a lock until it is killed.
func TestMain(m *testing.M) {
	if path := os.Getenv(holdFile); path != "" {
		if _, err := lockfile.Acquire(path); err != nil {
			os.Exit(1)
		}
		_, _ = os.Stdout.WriteString("held\n")
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func TestOneHolderAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	other := exec.Command(os.Args[0])
	other.Env = append(os.Environ(), holdFile+"="+path)
	if _, err := other.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	said, err := other.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := other.Start(); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(said, make([]byte, len("held\n"))); err != nil {
		t.Fatal(err)
	}

	_, err = lockfile.Acquire(path)
	held, ok := errors.AsType[*lockfile.HeldError](err)
	if !ok || held.PID != other.Process.Pid {
		t.Errorf("error %v, want one that names process %d", err, other.Process.Pid)
	}
	if err := other.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = other.Wait()

	release, err := lockfile.Acquire(path)
	if err != nil {
		t.Fatalf("after its holder was killed: %v", err)
	}
	if _, err := lockfile.Acquire(path); err == nil {
		t.Error("acquired twice")
	}
	if err := release(); err != nil {
		t.Error(err)
	}
	release, err = lockfile.Acquire(path)
	if err != nil {
		t.Fatalf("after the release: %v", err)
	}
	if err := release(); err != nil {
		t.Error(err)
	}
}

func TestNoFolder(t *testing.T) {
	if _, err := lockfile.Acquire(filepath.Join(t.TempDir(), "none", "lock")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want that the folder does not exist", err)
	}
}
