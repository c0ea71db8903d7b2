package embedded_test

import (
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/embedded"
)

// mustBePrivate fails if other users of the machine can read the tensors, the
// logs or the folder of a running server, or if anything of it listens to a
// network: whoever reaches an endpoint of Triton can load a model, which is a
// program.
func mustBePrivate(t *testing.T, s started) {
	t.Helper()
	socket := strings.TrimPrefix(s.GRPCAddr(), "unix://")
	private := append(leftoversIn(t, "/dev/shm", os.Getpid()), socket, filepath.Dir(socket), s.LogFile())
	if len(private) < 4 {
		t.Error("the server has no region in /dev/shm")
	}
	if _, err := os.Stat(s.LogFile() + ".1"); err == nil {
		private = append(private, s.LogFile()+".1")
	}
	for _, path := range private {
		info, err := os.Lstat(path)
		if err != nil {
			t.Error(err)
		} else if open := info.Mode() & 0o077; open != 0 {
			t.Errorf("%s has mode %v, which is open to other users", path, info.Mode())
		}
	}
	if info, err := os.Lstat(socket); err != nil || info.Mode().Type() != fs.ModeSocket {
		t.Errorf("%s is no socket: %v", socket, err)
	}
	family := []int{s.PID()}
	for _, c := range embedded.ChildrenOf(s.PID()) {
		family = append(family, c.PID())
	}
	if len(family) < 2 {
		t.Error("the server has no stub")
	}
	for _, pid := range family {
		if got := listeners(t, pid); len(got) > 0 {
			t.Errorf("process %d listens on TCP: %v", pid, got)
		}
	}
}

// listeners returns the local addresses, in the kernel's form, of the TCP
// sockets on which a process listens.
func listeners(t *testing.T, pid int) []string {
	t.Helper()
	sockets := map[string]bool{}
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("process %d has no open file: %v", pid, err)
	}
	for _, file := range files {
		target, _ := os.Readlink(file) // closed meanwhile, if it fails
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			sockets[strings.TrimSuffix(inode, "]")] = true
		}
	}
	var found []string
	for _, table := range []string{"tcp", "tcp6"} {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, table))
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			const listening = "0A"
			if f := strings.Fields(line); len(f) > 9 && f[3] == listening && sockets[f[9]] {
				found = append(found, f[1])
			}
		}
	}
	return found
}

// TestListeners: what mustBePrivate relies on sees a listener that is there.
func TestListeners(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	want := fmt.Sprintf("0100007F:%04X", l.Addr().(*net.TCPAddr).Port)
	if got := listeners(t, os.Getpid()); !strings.Contains(strings.Join(got, " "), want) {
		t.Errorf("listeners %v lack %s", got, want)
	}
}

// leaveOpen gives a file the mode that an older version of the program left.
func leaveOpen(t *testing.T, path string) {
	t.Helper()
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
}
