package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/internal/lockfile"
	"github.com/agiqa/agiqa/server"
)

// TestOneServerForADataFolder starts real servers on one data folder.
func TestOneServerForADataFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	env := []string{"AGIQA_DATA_DIR=" + dir}
	first := startUp(t, env, "--trace")

	for _, args := range [][]string{{"up"}, {"serve", "--triton", first.grpc}} {
		_, errs, status := runCommand(t, env, nil, append(args, "--listen", "127.0.0.1:0")...)
		last := lastLineOf(errs)
		if status != 1 || !strings.Contains(last, fmt.Sprintf("setting data-dir: process %d ", first.cmd.Process.Pid)) {
			t.Errorf("%s: status %d: %s\nwant it refused by process %d", args[0], status, last, first.cmd.Process.Pid)
		}
	}
	scoreOf(t, first, example(t, "tiles.png"))

	onlyForTheOwner(t, dir)

	first.stop(t, syscall.SIGKILL)
	scoreOf(t, startUp(t, env), example(t, "tiles.png"))
}

// onlyForTheOwner fails if other users may read anything in a data folder.
func onlyForTheOwner(t *testing.T, dir string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		switch e.Name() {
		case "__pycache__": // Python's, in the run folder, which is ours alone
			return fs.SkipDir
		case "model_repository": // any user's Triton may read models; the data folder keeps others out
			return fs.SkipDir
		}
		info, err := e.Info()
		if err == nil && e.Type() != fs.ModeSymlink && info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
}

func lastLineOf(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

func TestServersForOneCommandShareADataFolder(t *testing.T) {
	needsTriton(t)
	dir := t.TempDir()
	first := filepath.Join(dir, "once", "0")
	if err := os.MkdirAll(first, 0o700); err != nil {
		t.Fatal(err)
	}
	// The first folder is taken for as long as both of them run.
	release, err := lockfile.Acquire(filepath.Join(first, "lock"))
	if err != nil {
		t.Fatal(err)
	}
	env := []string{"AGIQA_DATA_DIR=" + dir}
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			_, errs, status := runCommand(t, env, nil, "score", "--embedded", "examples/tiles.png")
			if status != 0 {
				t.Errorf("status %d: %s", status, errs)
			}
		})
	}
	both.Wait()
	if err := release(); err != nil {
		t.Error(err)
	}
	for n, want := range []bool{false, true} {
		log := filepath.Join(dir, "once", fmt.Sprint(n), server.TritonLog)
		if _, err := os.Stat(log); (err == nil) != want {
			t.Errorf("%s: %v, want it: %v", log, err, want)
		}
	}
}
