package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// State is the state of a server's lifecycle.
type State string

// The states. Starting leads to Ready, or ends Start with an error. A server
// that dies goes through Restarting to Ready again, or to Failed, where it
// stays. Stop leads through Stopping to Stopped.
const (
	Starting   State = "starting"
	Ready      State = "ready"
	Restarting State = "restarting"
	Failed     State = "failed"
	Stopping   State = "stopping"
	Stopped    State = "stopped"
)

// Server is a supervised tritonserver. Its methods may be called from any
// goroutine.
type Server struct {
	cfg    Config // absolute
	setup  setup
	shm    string
	id     runID
	folder runFolder

	restart  chan struct{}      // receives requests for a restart
	cancel   context.CancelFunc // ends supervise
	killed   chan struct{}      // closed to end the grace period at once
	killOnce sync.Once
	done     chan struct{} // closed when supervise has returned

	mu       sync.Mutex
	state    State
	pid      int
	version  string
	restarts int
	err      error
}

// Start starts the server and returns when it is ready: its models are loaded
// and it answers. An error names the first failed check of
// [Preflight], or ends with the last lines of the log. ctx bounds the start
// alone; the server runs until [Server.Stop], or until this process ends.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	s, r, err := start(ctx, cfg, thisMachine())
	if err != nil {
		return nil, fmt.Errorf("embedded triton: %w", err)
	}
	running, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go s.supervise(running, r)
	return s, nil
}

// startAttempts is how often a start is attempted if the server crashes. It
// crashes now and then when the memory that it shares with several stubs isn't
// ready for one of them (boost::interprocess::lock_exception).
const startAttempts = 3

func start(ctx context.Context, cfg Config, m machine) (*Server, *run, error) {
	if err := cfg.Validate(); err != nil {
		return nil, nil, err
	}
	cfg, err := cfg.absolute()
	if err != nil {
		return nil, nil, err
	}
	setup, findings := preflight(ctx, cfg, m)
	if err := firstFault(findings); err != nil {
		return nil, nil, err
	}
	s := &Server{
		cfg: cfg, setup: setup, shm: m.shm,
		restart: make(chan struct{}, 1), killed: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.cleanUpEarlierRuns(); err != nil {
		return nil, nil, err
	}
	if s.id, err = newRunID(); err != nil {
		return nil, nil, err
	}
	s.folder = runFolder(filepath.Join(setup.runDir, string(s.id)))
	if err := os.Mkdir(string(s.folder), 0o700); err != nil {
		return nil, nil, err
	}
	r, err := s.startFirst(ctx)
	if err != nil {
		return nil, nil, errors.Join(err, s.folder.remove())
	}
	return s, r, nil
}

// startFirst launches the server for the first time.
func (s *Server) startFirst(ctx context.Context) (*run, error) {
	s.setState(Starting, "models", s.setup.models)
	began := time.Now()
	for attempt := 1; ; attempt++ {
		r, err := s.startOnce(ctx)
		if err == nil {
			s.setState(Ready, "after", time.Since(began).Round(time.Millisecond),
				"version", s.Version(), "pid", r.pid(), "grpc", s.GRPCAddr())
			return r, nil
		}
		if !isCrash(err) || attempt == startAttempts || ctx.Err() != nil {
			return nil, err
		}
		s.cfg.Logger.Warn("starting triton again: it crashed before it was ready", "error", err)
	}
}

func isCrash(err error) bool {
	_, ok := errors.AsType[crashError](err)
	return ok
}

// cleanUpEarlierRuns removes what earlier runs left and renames the old log.
func (s *Server) cleanUpEarlierRuns() error {
	swept, err := sweep(s.shm, s.setup.runDirs)
	if err != nil {
		// They use space, but don't prevent a start.
		s.cfg.Logger.Warn("could not clean up after an earlier triton", "error", err)
	}
	if len(swept) > 0 {
		s.cfg.Logger.Info("cleaned up after earlier tritons", "runs", swept)
	}
	return rotateLog(s.cfg.LogFile)
}

// startOnce launches the server and waits until it is ready. When it fails,
// nothing is left running.
func (s *Server) startOnce(ctx context.Context) (*run, error) {
	ctx, cancel := context.WithTimeout(ctx, s.cfg.StartTimeout)
	defer cancel()
	r, err := s.launch()
	if err != nil {
		return nil, err
	}
	version, err := awaitReady(ctx, s.GRPCAddr(), r.done)
	if err != nil {
		r.stop()
		<-r.done
		if errors.Is(err, errEnded) {
			err = fmt.Errorf("tritonserver %w before it was ready", r.err)
		}
		return nil, s.withTail(err)
	}
	s.mu.Lock()
	s.pid, s.version = r.pid(), version
	s.mu.Unlock()
	return r, nil
}

// errorLines is how many lines of the log an error contains.
const errorLines = 25

func (s *Server) withTail(err error) error {
	return fmt.Errorf("%w; the end of %s:\n%s", err, s.cfg.LogFile, strings.Join(s.Tail(errorLines), "\n"))
}

// supervise restarts the server when it dies, until ctx ends or the policy
// forbids another restart.
func (s *Server) supervise(ctx context.Context, r *run) {
	defer close(s.done)
	defer s.removeFolder()
	past := restartLog{policy: s.cfg.Restart}
	for r != nil {
		var cause error
		select {
		case <-ctx.Done():
			s.end(r)
			return
		case <-s.restart:
			cause = errors.New("a restart was requested")
			r.stop()
			<-r.done
		case <-r.done:
			cause = r.err
		}
		r = s.startAgain(ctx, &past, cause)
	}
}

// startAgain restarts a server that died of cause, as often as the policy
// allows. It returns nil once the server has failed or was stopped.
func (s *Server) startAgain(ctx context.Context, past *restartLog, cause error) *run {
	for {
		s.mu.Lock()
		s.pid = 0
		s.mu.Unlock()
		delay, ok := past.next(time.Now())
		if !ok {
			s.giveUp(cause)
			return nil
		}
		s.setState(Restarting, "in", delay, "cause", cause)
		r, err := s.startAfter(ctx, delay)
		if err == nil {
			s.setState(Ready, "pid", r.pid(), "restarts", s.Restarts())
			return r
		}
		if ctx.Err() != nil {
			s.setState(Stopped)
			return nil
		}
		cause = err
	}
}

// startAfter starts the server after delay.
func (s *Server) startAfter(ctx context.Context, delay time.Duration) (*run, error) {
	if !wait(ctx, delay) {
		return nil, ctx.Err()
	}
	r, err := s.startOnce(ctx)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.restart: // requested during this restart
	default:
	}
	s.mu.Lock()
	s.restarts++
	s.mu.Unlock()
	return r, nil
}

func (s *Server) removeFolder() {
	if err := s.folder.remove(); err != nil {
		s.cfg.Logger.Warn("could not remove triton's run folder", "error", err)
	}
}

func (s *Server) giveUp(cause error) {
	p := s.cfg.Restart
	s.mu.Lock()
	s.err = fmt.Errorf("embedded triton died too often (%d restarts within %v), last cause: %w", p.Limit, p.Window, cause)
	s.mu.Unlock()
	s.setState(Failed, "error", s.Err())
}

// end stops the running server.
func (s *Server) end(r *run) {
	s.setState(Stopping, "pid", r.pid())
	r.stop()
	<-r.done
	s.mu.Lock()
	s.pid = 0
	s.mu.Unlock()
	s.setState(Stopped)
}

// wait reports whether d passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (s *Server) setState(to State, attrs ...any) {
	s.mu.Lock()
	s.state = to
	s.mu.Unlock()
	log := s.cfg.Logger.Info
	if to == Restarting || to == Failed {
		log = s.cfg.Logger.Error
	}
	log("triton "+string(to), attrs...)
	if s.cfg.OnState != nil {
		s.cfg.OnState(to)
	}
}

// Stop stops the server: SIGTERM, StopGrace, then SIGKILL for the processes that
// are left. It returns when no process, shared memory or run folder is left. If
// ctx ends first, the server is killed at once. A second call waits for the
// first.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	s.killOnce.Do(func() { close(s.killed) })
	<-s.done
	return fmt.Errorf("embedded triton was killed: %w", context.Cause(ctx))
}

// Restart stops the server and starts it again, as after a crash. It is for a
// caller who finds that the server passes its health checks and no longer works.
// It returns at once, and has no effect during a restart.
func (s *Server) Restart() {
	select {
	case s.restart <- struct{}{}:
	default:
	}
}

// GRPCAddr returns the address of the inference service, unix:///PATH, which
// only the user of this process can connect to. It doesn't change when the
// server restarts.
func (s *Server) GRPCAddr() string { return "unix://" + s.folder.socket() }

// Models returns the names of the models that are loaded at each start.
func (s *Server) Models() []string { return s.setup.models }

// LogFile returns the path of the log.
func (s *Server) LogFile() string { return s.cfg.LogFile }

// Tail returns the last n lines of the log.
func (s *Server) Tail(n int) []string { return tailLog(s.cfg.LogFile, n) }

// Version returns the version that the server reports, such as "2.51.0".
func (s *Server) Version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// PID returns the process ID of tritonserver, 0 while there is none.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// Restarts returns how often the server was restarted.
func (s *Server) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

// State returns the current state.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Done is closed when the server is Stopped or Failed.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns why the server is Failed; nil in every other state.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
