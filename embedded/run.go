package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// run is one life of the server: its keeper and what that reports.
type run struct {
	mark mark
	pid  int
	stop func()        // begins the end of the server; may be called again
	done chan struct{} // closed when the server is gone and nothing is left
	err  error         // why, to be read after done
}

// launch starts a keeper and, through it, a server. It returns when the server
// process exists.
func (s *Server) launch() (*run, error) {
	m, err := newMark()
	if err != nil {
		return nil, err
	}
	if err := s.folder(m).create(s.cfg, s.setup.installation); err != nil {
		return nil, errors.Join(err, removeTraces(s.shm, s.setup.runDir, m))
	}
	r, err := s.launchKeeper(m)
	if err != nil {
		return nil, errors.Join(err, removeTraces(s.shm, s.setup.runDir, m))
	}
	return r, nil
}

// folder is the run folder of m.
func (s *Server) folder(m mark) runFolder { return runFolder(filepath.Join(s.setup.runDir, string(m))) }

func (s *Server) launchKeeper(m mark) (*run, error) {
	// This very program, even if its file was replaced since.
	cmd := exec.Command("/proc/self/exe")
	cmd.Args = []string{"triton-keeper", keeperArg}
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	orders, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	reports, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	complaints, err := os.OpenFile(s.cfg.LogFile, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer complaints.Close()
	cmd.Stderr = complaints
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the keeper: %w", err)
	}
	lines := json.NewDecoder(bufio.NewReader(reports))
	first, err := s.give(orders, lines, m)
	if err != nil {
		orders.Close()
		_ = cmd.Wait()
		return nil, err
	}
	r := &run{mark: m, pid: first.PID, stop: func() { orders.Close() }, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		r.err = s.attend(cmd, lines, r)
		orders.Close()
	}()
	return r, nil
}

// give hands the order to the keeper and reads its first report.
func (s *Server) give(orders io.Writer, lines *json.Decoder, m mark) (report, error) {
	folder := s.folder(m)
	env := environment(s.cfg.Env, folder)
	if s.cfg.OTLPTracesURL != "" {
		env = withZeroing(env, findZeroing(libraryFolders()))
	}
	o := order{
		Path: folder.server(), Args: arguments(s.cfg, s.setup.models, s.ports, folder, m), Env: env,
		Dir: string(folder), Mark: m, Shm: s.shm, RunDir: s.setup.runDir,
		LogFile: s.cfg.LogFile, LogMaxBytes: s.cfg.LogMaxBytes, Grace: s.cfg.StopGrace,
	}
	// Only now, so that the ports are free for as short a time as possible.
	s.held.release()
	var first report
	if err := json.NewEncoder(orders).Encode(o); err != nil {
		return first, fmt.Errorf("order the keeper: %w", err)
	}
	if err := lines.Decode(&first); err != nil {
		return first, fmt.Errorf("keeper ended before the server ran (does main call embedded.KeeperMain first?): %w", err)
	}
	if first.Error != "" {
		return first, errors.New(first.Error)
	}
	return first, nil
}

// attend waits for the end of the run and returns its reason. A keeper that
// was killed leaves its duty to us.
func (s *Server) attend(cmd *exec.Cmd, lines *json.Decoder, r *run) error {
	server, pidfdErr := unix.PidfdOpen(r.pid, 0)
	if pidfdErr == nil {
		defer unix.Close(server)
	}
	var last report
	err := lines.Decode(&last)
	waitErr := cmd.Wait()
	if err != nil {
		if pidfdErr == nil {
			s.replaceKeeper(server, r)
		}
		return fmt.Errorf("keeper died (%v)", waitErr)
	}
	if last.Traces != "" {
		s.cfg.Logger.Warn("triton left traces", "detail", last.Traces)
	}
	if last.Crashed {
		return crashError(last.Ended)
	}
	return errors.New(last.Ended)
}

// crashError says how a server ended by a fault of its own.
type crashError string

func (e crashError) Error() string { return string(e) }

// replaceKeeper ends a server whose keeper was killed. The kernel has sent it
// SIGTERM already; its descriptor says when it is gone.
func (s *Server) replaceKeeper(server int, r *run) {
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.StopGrace)
	defer cancel()
	if !awaitPidfd(ctx, server) {
		_ = unix.PidfdSendSignal(server, unix.SIGKILL, nil, 0)
		awaitPidfd(context.Background(), server)
	}
	killProcessesOf(r.mark) // its stubs
	if err := removeTraces(s.shm, s.setup.runDir, r.mark); err != nil {
		s.cfg.Logger.Warn("triton left traces", "detail", err)
	}
}

// awaitPidfd reports whether the process ended within ctx.
func awaitPidfd(ctx context.Context, pidfd int) bool {
	for {
		timeout := -1
		if deadline, ok := ctx.Deadline(); ok {
			timeout = max(0, int(time.Until(deadline).Milliseconds()))
		}
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, timeout)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		return n > 0
	}
}
