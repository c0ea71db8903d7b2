// Package lockfile keeps two processes from working in one folder.
package lockfile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// HeldError reports that another process holds a lock.
type HeldError struct {
	PID  int    // 0 if it hasn't written its number yet
	Host string // the machine that PID is of
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return "another process"
	}
	if here, err := os.Hostname(); err == nil && here == e.Host {
		return fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("process %d on host %s", e.PID, e.Host)
}

// Acquire locks the file at path, makes it if need be, and writes the number
// of this process into it, if it can. It returns a [HeldError] at once if another process
// holds the lock. The kernel releases the lock when its holder ends, however
// that ends; the file stays, since removing it would let two hold it.
func Acquire(path string) (release func() error, err error) {
	// Open for writing, which NFS wants of the holder of a lock.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	switch err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); {
	case errors.Is(err, unix.EWOULDBLOCK):
		return nil, errors.Join(readHolder(f), f.Close())
	case err != nil:
		return nil, errors.Join(fmt.Errorf("lock %s: %w", path, err), f.Close())
	}
	// The lock holds without it, such as on a full disk.
	if host, err := os.Hostname(); err == nil && f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "%d %s\n", os.Getpid(), host)
	}
	return f.Close, nil
}

func readHolder(f *os.File) *HeldError {
	text, err := io.ReadAll(io.LimitReader(f, 1<<10))
	if err != nil {
		return &HeldError{}
	}
	number, host, _ := strings.Cut(strings.TrimSpace(string(text)), " ")
	pid, _ := strconv.Atoi(number)
	return &HeldError{PID: pid, Host: host}
}
