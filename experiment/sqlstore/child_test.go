//go:build unix

package sqlstore_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"sync"
	"syscall"
	"testing"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/quality"
)

// What the test binary does instead of testing, when it is asked to by these
// variables.
const (
	childTask = "AGIQA_SQLSTORE_CHILD"
	childPath = "AGIQA_SQLSTORE_PATH"
	childName = "AGIQA_SQLSTORE_NAME"
)

func TestMain(m *testing.M) {
	tasks := map[string]func(string) error{"append": appendForEver, "fill": fillDisk, "readonly": appendReadOnly}
	task, ok := tasks[os.Getenv(childTask)]
	if !ok {
		os.Exit(m.Run())
	}
	if err := task(os.Getenv(childPath)); err != nil {
		fmt.Println("failed:", err)
		os.Exit(1)
	}
}

// child returns the command of a process that does a task on a SQLite file.
func child(t *testing.T, task, path, name string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program)
	cmd.Env = append(os.Environ(), childTask+"="+task, childPath+"="+path, childName+"="+name)
	return cmd
}

func openChild(path string) (*sqlstore.Store, error) {
	c := sqlstore.DefaultConfig()
	c.Path = path
	return sqlstore.Open(context.Background(), c)
}

// appendForEver prints the id of every record that was acknowledged.
func appendForEver(path string) error {
	s, err := openChild(path)
	if err != nil {
		return err
	}
	name := experiment.ID(os.Getenv(childName))
	var mu sync.Mutex
	say := func(id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Println(id) // one write: unbuffered
	}
	var group sync.WaitGroup
	for w := range 4 {
		group.Go(func() {
			for n := w; ; n += 4 {
				e, f := storetest.NewExposure(name, n), storetest.NewFeedback(name, n)
				f.Experiment = "x"
				e.Experiment = "x"
				if err := s.AppendExposures(context.Background(), []experiment.Exposure{e}); err != nil {
					panic(err)
				}
				say(e.ID)
				if _, err := s.AppendFeedback(context.Background(), f); err != nil {
					panic(err)
				}
				say(f.ID)
			}
		})
	}
	group.Wait()
	return nil
}

// fillDisk appends until the size of files is limited, then without the limit.
func fillDisk(path string) error {
	// A process that writes past the limit is sent a signal, and a write that
	// fails with an error is what is wanted.
	signal.Ignore(syscall.SIGXFSZ)
	s, err := openChild(path)
	if err != nil {
		return err
	}
	one := func(n int) error {
		return s.AppendExposures(context.Background(), []experiment.Exposure{storetest.NewExposure("x", n)})
	}
	seen := storetest.NewExposure("x", 0).Assignment
	if err := one(0); err != nil {
		return err
	}
	if _, err := s.ByAssignment(context.Background(), seen); err != nil {
		return err
	}
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	full := was
	full.Cur = 1
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &full); err != nil {
		return err
	}
	for n := 1; n < 4; n++ {
		if err := one(n); quality.KindOf(err) != quality.KindStoreUnavailable {
			return fmt.Errorf("append to a full disk: %w", err)
		}
	}
	_, readErr := s.ByAssignment(context.Background(), seen)
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		return err
	}
	if readErr != nil {
		return fmt.Errorf("reading while the disk is full: %w", readErr)
	}
	if err := one(4); err != nil {
		return fmt.Errorf("append when there is room again: %w", err)
	}
	return s.Close()
}

// appendReadOnly appends to a file that this user may only read.
func appendReadOnly(path string) error {
	s, err := openChild(path)
	if err != nil {
		if quality.KindOf(err) == quality.KindStoreUnavailable {
			return nil
		}
		return err
	}
	defer s.Close()
	err = s.AppendExposures(context.Background(), []experiment.Exposure{storetest.NewExposure("x", 1)})
	if quality.KindOf(err) != quality.KindStoreUnavailable {
		return fmt.Errorf("append to a read-only file: %w", err)
	}
	return nil
}

// acknowledged runs a child until it has printed enough lines, kills it, and
// returns all whole lines that it had printed.
func acknowledged(t *testing.T, cmd *exec.Cmd, enough int) []string {
	t.Helper()
	output, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	lines := bufio.NewReader(output)
	for {
		line, err := lines.ReadString('\n')
		if err == io.EOF {
			break // a line that was cut was not said
		}
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, line[:len(line)-1])
		if len(ids) == enough {
			if err := cmd.Process.Signal(syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait() // it was killed
	if len(ids) < enough {
		t.Fatalf("the child ended by itself after %d lines: %q", len(ids), ids)
	}
	return ids
}
