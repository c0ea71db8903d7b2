package embedded

import (
	"errors"
	"fmt"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// run is one tritonserver process, from its start until nothing of it is left.
type run struct {
	cmd  *exec.Cmd
	stop func()        // requests an orderly end; may be called again
	done chan struct{} // closed when the process has ended and its leftovers are removed
	err  error         // why it ended; valid once done is closed
}

func (r *run) pid() int { return r.cmd.Process.Pid }

// launch starts a server process. When it fails, nothing is left.
func (s *Server) launch() (*run, error) {
	if err := s.folder.fill(s.cfg, s.setup.installation); err != nil {
		return nil, err
	}
	log, err := openLog(s.cfg.LogFile, s.cfg.LogMaxBytes)
	if err != nil {
		return nil, err
	}
	stopping := make(chan struct{})
	r := &run{
		cmd: s.command(), done: make(chan struct{}),
		stop: sync.OnceFunc(func() { close(stopping) }),
	}
	r.cmd.Stdout, r.cmd.Stderr = log, log
	started := make(chan error)
	go func() {
		// The kernel sends the parent-death signal when the thread that started
		// the process ends, so that thread must live as long as the process. It
		// isn't unlocked and ends then, since keepModes changed it for good.
		runtime.LockOSThread()
		defer log.Close()
		err := keepModes()
		if err == nil {
			err = r.cmd.Start()
		}
		started <- err
		if err == nil {
			r.err = s.wait(r, stopping)
			close(r.done)
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start tritonserver: %w", err)
	}
	return r, nil
}

// command returns the server's command. The process leads a session and a
// process group of its own: a terminal's Ctrl-C doesn't reach it, so that agiqa
// can finish its requests before it stops the server. If agiqa dies in any way,
// the kernel kills the server.
//
// A shell sets the umask and becomes the server: the umask of this process is
// that of all its threads. With it and keepModes, other users can't read the
// regions in /dev/shm, which hold the tensors of requests.
func (s *Server) command() *exec.Cmd {
	const shell = `umask 077; exec "$@"`
	args := append([]string{"-c", shell, "sh", s.folder.server()},
		arguments(s.cfg, s.setup.models, s.folder, s.id)...)
	cmd := exec.Command("/bin/sh", args...)
	cmd.Dir = string(s.folder)
	cmd.Env = environment(s.cfg.Env, s.folder, s.id)
	if s.cfg.OTLPTracesURL != "" {
		cmd.Env = withZeroing(cmd.Env, findZeroing(libraryFolders()))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Pdeathsig: syscall.SIGKILL}
	// A process that can't be killed may hold the log's pipe open.
	cmd.WaitDelay = time.Second
	return cmd
}

// wait returns why the server ended, once no process and no file of it is left.
func (s *Server) wait(r *run, stopping <-chan struct{}) error {
	exited := make(chan struct{})
	go func() {
		defer close(exited)
		awaitExit(r.pid())
	}()
	reason := s.watch(r.pid(), exited, stopping)
	// Before Wait, after which the kernel may give the group's ID to others.
	_ = unix.Kill(-r.pid(), unix.SIGKILL)
	killErr := killProcesses(s.id)
	_ = r.cmd.Wait() // ProcessState has the details
	reapGroup(r.pid())
	if err := errors.Join(killErr, removeRegions(s.shm, s.id)); err != nil {
		s.cfg.Logger.Warn("could not clean up after triton", "error", err)
	}
	status, _ := r.cmd.ProcessState.Sys().(syscall.WaitStatus)
	switch {
	case reason != "":
		return errors.New(reason)
	case crashed(status):
		return crashError(describe(status))
	}
	return errors.New(describe(status))
}

// awaitExit returns when pid has exited, without reaping it: until then its
// ID, and that of its group, can't be given to another process.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// deadStubGrace replaces the grace period for a server with a dead stub. Its
// other models may finish their requests, which take milliseconds.
const deadStubGrace = time.Second

// stubCheckInterval is how often the supervisor looks for dead stubs. A stub
// counts as dead if two checks in a row see it dead: the server reaps those
// that it stopped itself.
const stubCheckInterval = time.Second

// watch returns when the server has exited. The reason is empty if the server
// exited by itself.
func (s *Server) watch(pid int, exited, stopping <-chan struct{}) (reason string) {
	check := time.NewTicker(stubCheckInterval)
	defer check.Stop()
	var zombies map[int]bool
	for {
		select {
		case <-exited:
			return ""
		case <-stopping:
			return s.terminate(pid, exited, "stopped", s.cfg.StopGrace)
		case <-check.C:
			now := deadChildren(pid)
			for stub := range now {
				if zombies[stub] {
					return s.terminate(pid, exited, fmt.Sprintf("its Python backend process %d died", stub),
						min(deadStubGrace, s.cfg.StopGrace))
				}
			}
			zombies = now
		}
	}
}

func deadChildren(parent int) map[int]bool {
	dead := map[int]bool{}
	for _, p := range childrenOf(parent) {
		if p.dead {
			dead[p.pid] = true
		}
	}
	return dead
}

// terminate sends SIGTERM, and SIGKILL if the server hasn't exited after grace
// or [Server.Stop] ran out of time.
func (s *Server) terminate(pid int, exited <-chan struct{}, reason string, grace time.Duration) string {
	_ = unix.Kill(pid, unix.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-exited:
		return reason
	case <-timer.C:
		reason += fmt.Sprintf("; killed after %v", grace)
	case <-s.killed:
		reason += "; killed"
	}
	_ = unix.Kill(-pid, unix.SIGKILL)
	<-exited
	return reason
}

// reapGroup reaps what became a child of this process when the server exited.
// That happens where agiqa runs as process 1, in a container.
func reapGroup(group int) {
	for {
		_, err := unix.Wait4(-group, nil, 0, nil)
		if err != nil && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// crashError says how a server crashed.
type crashError string

func (e crashError) Error() string { return string(e) }

// crashed reports whether the process was ended by a fault of its own.
func crashed(s syscall.WaitStatus) bool {
	return s.Signaled() && slices.Contains([]syscall.Signal{unix.SIGABRT, unix.SIGSEGV, unix.SIGBUS}, s.Signal())
}

func describe(s syscall.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + s.Signal().String()
	}
	return fmt.Sprintf("ended with status %d", s.ExitStatus())
}
