//go:build unix

// Package redistest runs a real redis-server for a test: the binary from
// PATH, on a free loopback port, without persistence, killed when the test ends
// (package internal/proctest).
//
// It refuses to pretend: where redis-server is missing the test fails and
// says which package to install, unless the run is -short, which skips. It
// serves the tests of package cache and every integration test above it.
package redistest

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/agiqa/agiqa/internal/proctest"
)

const (
	binary = "redis-server"
	// startTimeout bounds one start; an idle machine needs some 20 ms.
	startTimeout = time.Minute
	// doTimeout bounds one command of Do.
	doTimeout = time.Minute
	readyLine = "Ready to accept connections"
)

// Server is one redis-server process and the address that it keeps through
// restarts. Its methods are for the test's goroutine only, Do excepted.
type Server struct {
	t       testing.TB
	args    []string
	port    int
	process *proctest.Process // nil: not running
}

// New reserves an address and starts nothing: a Redis that is down. args are
// further command-line settings, such as "--maxmemory", "2mb".
func New(t testing.TB, args ...string) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real redis-server; not run with -short")
	}
	if _, err := exec.LookPath(binary); err != nil {
		t.Fatalf("%s is not on PATH: install the Debian package redis-server "+
			"(apt-get install redis-server), or run the tests with -short to leave these out", binary)
	}
	s := &Server{t: t, args: args, port: proctest.FreePort(t)}
	t.Cleanup(s.Kill)
	return s
}

// Start runs a redis-server and returns when it accepts connections.
func Start(t testing.TB, args ...string) *Server {
	t.Helper()
	s := New(t, args...)
	proctest.OnFreePort(t, func(port int) error {
		s.port = port
		return s.launch()
	})
	return s
}

// Run starts a server that was made by New or was killed, on its address, and
// returns when it accepts connections.
func (s *Server) Run() {
	s.t.Helper()
	if err := s.launch(); err != nil {
		s.t.Fatalf("starting %s: %v", binary, err)
	}
}

// URL returns the address as a redis:// URL.
func (s *Server) URL() string { return "redis://" + s.Addr() }

// Addr returns host:port.
func (s *Server) Addr() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// Kill ends the server with SIGKILL and waits until it is gone. It does
// nothing to a server that does not run.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.Kill() // its children too: redis forks to save and to replicate
		s.process = nil
	}
}

// Stop freezes the server with SIGSTOP: connections stay open and the kernel
// still accepts new ones, but nothing is answered until Cont.
func (s *Server) Stop() { s.signal(syscall.SIGSTOP) }

// Cont wakes a server that was frozen by Stop.
func (s *Server) Cont() { s.signal(syscall.SIGCONT) }

// Do sends one command, as redis-cli would, and fails the test when the reply
// is an error. A nil reply is nil.
func (s *Server) Do(args ...any) any {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), doTimeout)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: s.password(), Protocol: 2, DisableIdentity: true})
	defer client.Close()
	reply, err := client.Do(ctx, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		s.t.Fatalf("redis %v: %v", args[0], err)
	}
	return reply
}

// Keys returns every key that the server holds, in no particular order.
func (s *Server) Keys() []string {
	s.t.Helper()
	reply, _ := s.Do("KEYS", "*").([]any)
	keys := make([]string, len(reply))
	for i, k := range reply {
		keys[i], _ = k.(string)
	}
	return keys
}

// password returns the value of --requirepass among the arguments, if any.
func (s *Server) password() string {
	for i, a := range s.args {
		if a == "--requirepass" && i+1 < len(s.args) {
			return s.args[i+1]
		}
	}
	return ""
}

func (s *Server) signal(sig syscall.Signal) {
	s.t.Helper()
	if s.process == nil {
		s.t.Fatalf("signal %v to a %s that does not run", sig, binary)
	}
	if err := s.process.Signal(sig); err != nil {
		s.t.Fatalf("signal %v to %s: %v", sig, binary, err)
	}
}

// launch starts the process and waits for the line that says it is ready.
func (s *Server) launch() error {
	if s.process != nil {
		return errors.New("already running")
	}
	args := append([]string{
		"--port", fmt.Sprint(s.port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", s.t.TempDir(), "--daemonize", "no",
	}, s.args...)
	var err error
	s.process, err = proctest.Start(exec.Command(binary, args...), readyLine, startTimeout)
	return err
}
