package embedded

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// State is where a server stands.
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
	ports Ports     // settled by start
	held  heldPorts // touched by start, then by supervise alone

	ask    chan struct{}      // a restart is wanted
	cancel context.CancelFunc // ends supervise
	done   chan struct{}      // closed when supervise has returned

	mu       sync.Mutex
	state    State
	pid      int
	version  string
	restarts int
	err      error
}

// Start runs the server and returns when it is ready: its models are loaded
// and it answers on all of its ports. Its errors name the first fault of
// [Preflight], or end with the last lines of the log. ctx bounds the start
// alone; the server lives until [Server.Stop].
func Start(ctx context.Context, cfg Config) (*Server, error) {
	return start(ctx, cfg, thisMachine(), holdPorts)
}

// startTries is how often a start is tried when somebody took a port between
// its choice and its use, or the server crashed, as it does now and then when
// the memory that it shares with several stubs is not ready for one of them
// (boost::interprocess::lock_exception).
const startTries = 3

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
		ask: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if err := s.clearAway(); err != nil {
		return nil, err
	}
	s.change(Starting, "models", setup.models)
	began := time.Now()
	var r *run
	for try := 1; ; try++ {
		if s.held, err = hold(cfg.Ports); err != nil {
			return nil, fmt.Errorf("embedded triton: %w", err)
		}
		s.ports = s.held.Ports
		if r, err = s.begin(ctx); err == nil {
			break
		}
		switch {
		case try == startTries || ctx.Err() != nil:
			return nil, fmt.Errorf("embedded triton: %w", err)
		case isCrash(err):
			cfg.Logger.Warn("triton starts again: it crashed before it was ready", "error", err)
		case s.ports.taken():
			cfg.Logger.Info("triton starts again: a port was taken", "ports", s.ports)
		default:
			return nil, fmt.Errorf("embedded triton: %w", err)
		}
	}
	life, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.change(Ready, "after", time.Since(began).Round(time.Millisecond), "version", s.Version(), "pid", r.pid, "grpc", s.GRPCAddr())
	go s.supervise(life, r)
	return s, nil
}

func isCrash(err error) bool {
	_, ok := errors.AsType[crashError](err)
	return ok
}

// clearAway removes what earlier runs left and puts the old log aside.
func (s *Server) clearAway() error {
	swept, err := sweep(s.shm, s.setup.runDirs)
	if err != nil {
		// Another user's regions, say: a nuisance, not an obstacle.
		s.cfg.Logger.Warn("leftovers of an earlier triton stay", "error", err)
	}
	if len(swept) > 0 {
		s.cfg.Logger.Info("removed leftovers of earlier tritons", "runs", swept)
	}
	return rotateLog(s.cfg.LogFile)
}

// begin launches the server and waits until it is ready. When it fails,
// nothing is left running.
func (s *Server) begin(ctx context.Context) (*run, error) {
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
	s.pid, s.version = r.pid, version
	s.mu.Unlock()
	return r, nil
}

// errorLines is how much of the log an error carries.
const errorLines = 25

func (s *Server) withTail(err error) error {
	return fmt.Errorf("%w; the end of %s:\n%s", err, s.cfg.LogFile, strings.Join(s.Tail(errorLines), "\n"))
}

// supervise starts the server again when it dies, until life ends or the
// policy forbids it.
func (s *Server) supervise(life context.Context, r *run) {
	defer close(s.done)
	past := restartLog{policy: s.cfg.Restart}
	for r != nil {
		var cause error
		select {
		case <-life.Done():
			s.end(r)
			return
		case <-s.ask:
			cause = errors.New("a restart was asked for")
			r.stop()
			<-r.done
		case <-r.done:
			cause = r.err
		}
		r = s.again(life, &past, cause)
	}
}

// again starts the server after it died of cause, as often as the policy
// allows. It returns nil when that is over: given up, or asked to stop.
func (s *Server) again(life context.Context, past *restartLog, cause error) *run {
	for {
		s.mu.Lock()
		s.pid = 0
		s.mu.Unlock()
		delay, ok := past.next(time.Now())
		if !ok {
			s.giveUp(cause)
			return nil
		}
		s.change(Restarting, "in", delay, "cause", cause)
		r, err := s.beginAfter(life, delay)
		if err == nil {
			s.change(Ready, "pid", r.pid, "restarts", s.Restarts())
			return r
		}
		if life.Err() != nil {
			s.change(Stopped)
			return nil
		}
		cause = err
	}
}

// beginAfter begins on the ports of before, and keeps them from others until
// then.
func (s *Server) beginAfter(life context.Context, delay time.Duration) (*run, error) {
	held, holdErr := holdPorts(s.ports)
	s.held = held
	if !wait(life, delay) {
		s.held.release()
		return nil, life.Err()
	}
	if holdErr != nil {
		return nil, holdErr
	}
	r, err := s.begin(life)
	if err != nil {
		return nil, err
	}
	select {
	case <-s.ask: // asked for while it was under way
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
	s.err = fmt.Errorf("embedded triton died too often (%d restarts within %v), last: %w", p.Limit, p.Window, cause)
	s.mu.Unlock()
	s.change(Failed, "error", s.Err())
}

// end stops the server that runs.
func (s *Server) end(r *run) {
	s.change(Stopping, "pid", r.pid)
	r.stop()
	<-r.done
	s.mu.Lock()
	s.pid = 0
	s.mu.Unlock()
	s.change(Stopped)
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

func (s *Server) change(to State, facts ...any) {
	s.mu.Lock()
	s.state = to
	s.mu.Unlock()
	log := s.cfg.Logger.Info
	if to == Restarting || to == Failed {
		log = s.cfg.Logger.Error
	}
	log("triton "+string(to), facts...)
	if s.cfg.OnState != nil {
		s.cfg.OnState(to)
	}
}

// Stop ends the server: SIGTERM, StopGrace, SIGKILL for whatever is left. It
// returns when no process, no shared memory and no run folder remains. When
// ctx ends first the server is killed without further grace. A second call
// waits for the first.
func (s *Server) Stop(ctx context.Context) error {
	s.cancel()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	if pid := s.PID(); pid != 0 {
		_ = unix.Kill(-pid, unix.SIGKILL)
	}
	<-s.done
	return fmt.Errorf("embedded triton was killed: %w", context.Cause(ctx))
}

// Restart ends the server and has it started again, as after a crash: for
// whoever finds that it answers its probes and no longer works. It returns at
// once; a restart under way already is as good.
func (s *Server) Restart() {
	select {
	case s.ask <- struct{}{}:
	default:
	}
}

// GRPCAddr returns host:port of the inference service, the same for the whole
// life of s.
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

// Version returns what the server calls its version, such as "2.51.0".
func (s *Server) Version() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.version
}

// PID returns the process number of tritonserver, 0 while there is none.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pid
}

// Restarts counts how often the server was started again.
func (s *Server) Restarts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.restarts
}

// State returns where the server stands.
func (s *Server) State() State {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.state
}

// Done is closed when the server is over: stopped, or given up.
func (s *Server) Done() <-chan struct{} { return s.done }

// Err returns why the server was given up; nil in every other state.
func (s *Server) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}
