package embedded

import (
	"context"
	"errors"
	"fmt"
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
	cfg   Config // absolute
	setup setup
	shm   string
	ports Ports     // set by start
	held  heldPorts // used by start, then by supervise alone

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
// and it answers on all of its ports. An error names the first failed check of
// [Preflight], or ends with the last lines of the log. ctx bounds the start
// alone; the server runs until [Server.Stop], or until this process ends.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	return start(ctx, cfg, thisMachine(), holdPorts)
}

// startAttempts is how often a start is attempted if another process took a
// port between its choice and its use, or if the server crashed. It crashes now
// and then when the memory that it shares with several stubs isn't ready for one
// of them (boost::interprocess::lock_exception).
const startAttempts = 3

func start(ctx context.Context, cfg Config, m machine, hold func(Ports) (heldPorts, error)) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("embedded triton: %w", err)
	}
	cfg, err := cfg.absolute()
	if err != nil {
		return nil, err
	}
	setup, findings := preflight(ctx, cfg, m)
	if err := firstFault(findings); err != nil {
		return nil, fmt.Errorf("embedded triton: %w", err)
	}
	s := &Server{
		cfg: cfg, setup: setup, shm: m.shm,
		restart: make(chan struct{}, 1), killed: make(chan struct{}), done: make(chan struct{}),
	}
	if err := s.cleanUpEarlierRuns(); err != nil {
		return nil, err
	}
	s.setState(Starting, "models", setup.models)
	began := time.Now()
	var r *run
	for attempt := 1; ; attempt++ {
		if s.held, err = hold(cfg.Ports); err != nil {
			return nil, fmt.Errorf("embedded triton: %w", err)
		}
		s.ports = s.held.Ports
		if r, err = s.startOnce(ctx); err == nil {
			break
		}
		switch {
		case attempt == startAttempts || ctx.Err() != nil:
			return nil, fmt.Errorf("embedded triton: %w", err)
		case isCrash(err):
			cfg.Logger.Warn("starting triton again: it crashed before it was ready", "error", err)
		case s.ports.taken():
			cfg.Logger.Info("starting triton again: another process took a port", "ports", s.ports)
		default:
			return nil, fmt.Errorf("embedded triton: %w", err)
		}
	}
	running, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.setState(Ready, "after", time.Since(began).Round(time.Millisecond),
		"version", s.Version(), "pid", r.pid(), "grpc", s.GRPCAddr())
	go s.supervise(running, r)
	return s, nil
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
		s.held.release()
		return nil, err
	}
	version, err := awaitReady(ctx, s.HTTPAddr(), r.done)
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

// startAfter starts the server on the same ports after delay, and holds the
// ports until then.
func (s *Server) startAfter(ctx context.Context, delay time.Duration) (*run, error) {
	held, holdErr := holdPorts(s.ports)
	s.held = held
	if !wait(ctx, delay) {
		s.held.release()
		return nil, ctx.Err()
	}
	if holdErr != nil {
		return nil, holdErr
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

// GRPCAddr returns host:port of the inference service. It doesn't change when
// the server restarts.
func (s *Server) GRPCAddr() string { return onLoopback(s.ports.GRPC) }

// HTTPAddr returns host:port of the HTTP service.
func (s *Server) HTTPAddr() string { return onLoopback(s.ports.HTTP) }

// MetricsAddr returns host:port of the Prometheus metrics (/metrics).
func (s *Server) MetricsAddr() string { return onLoopback(s.ports.Metrics) }

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
