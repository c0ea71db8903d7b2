//go:build unix

// Package proctest runs a server's program for a test: in a process group of its own,
// which is killed with the test, and on Linux also when the test process dies before
// it can clean up. It knows a server is ready by a line that it prints.
package proctest

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// mostLog bounds what is kept of a server's output.
const mostLog = 64 << 10

// Process is a program that runs. Its methods may be called from any goroutine.
type Process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it was waited for

	mu  sync.Mutex
	log strings.Builder // the beginning of its output
}

// Start runs cmd and returns when it has printed a line that contains ready, to
// either stream. A program that ends before, or is not ready in time, is an error
// that holds its output.
func Start(cmd *exec.Cmd, ready string, within time.Duration) (*Process, error) {
	Bind(cmd)
	output, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	cmd.Stderr = cmd.Stdout
	p := &Process{cmd: cmd, done: make(chan struct{})}
	launched, isReady := make(chan error, 1), make(chan struct{})
	go p.supervise(output, ready, launched, isReady)
	if err := <-launched; err != nil {
		return nil, err
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-isReady:
		return p, nil
	case <-p.done:
		return nil, fmt.Errorf("%s ended before it was ready: %s\n%s", cmd.Path, cmd.ProcessState, p.Log())
	case <-timer.C:
		p.Kill()
		return nil, fmt.Errorf("%s is not ready within %s:\n%s", cmd.Path, within, p.Log())
	}
}

// supervise starts the program, says whether it could and when it is ready, and waits
// for its end. It keeps its thread: the signal at the parent's death is sent when the
// thread that started the child ends, not when the process does.
func (p *Process) supervise(output io.Reader, ready string, launched chan<- error, isReady chan<- struct{}) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	launched <- err
	if err != nil {
		return
	}
	defer close(p.done)
	lines := bufio.NewReader(output) // read to the end, or the program would block on its log
	said := false
	for {
		line, err := lines.ReadString('\n')
		p.keep(line)
		if !said && strings.Contains(line, ready) {
			said = true
			close(isReady)
		}
		if err != nil {
			break
		}
	}
	_ = p.cmd.Wait() // how it ended is in its state
}

func (p *Process) keep(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.log.WriteString(line[:min(len(line), mostLog-p.log.Len())])
}

// Log is what the program has printed so far, the beginning of it where it is much.
func (p *Process) Log() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// Kill ends the program and its children with SIGKILL and waits until it is gone. It
// does nothing to one that has ended.
func (p *Process) Kill() {
	_ = p.Signal(syscall.SIGKILL) // an error: it has ended
	<-p.done
}

// Signal sends a signal to the program and its children.
func (p *Process) Signal(sig syscall.Signal) error {
	select {
	case <-p.done:
		return syscall.ESRCH
	default:
		return syscall.Kill(-p.cmd.Process.Pid, sig)
	}
}

// Bind ties a program that has not been started to this process, see the package.
func Bind(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Setpgid = true
	dieWithParent(cmd.SysProcAttr)
}

// ShortDir is a folder with room for the path of a socket, which a test's own
// folder may not have.
func ShortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "t")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}
