//go:build unix

// Package postgrestest runs a real PostgreSQL for a test: the newest that is
// installed, with a cluster of its own in a temporary folder, on a free
// loopback port, killed when the test ends (package internal/proctest).
//
// It refuses to pretend: where PostgreSQL is missing the test fails and says
// which package to install, unless the run is -short, which skips. The server
// keeps its durability: fsync is on. It serves the tests of experiment/sqlstore
// and every integration test above it.
package postgrestest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/agiqa/agiqa/internal/proctest"
)

const (
	// Password is what the server wants to see. Tests look for it where it
	// must not be.
	Password = "a:very/secret@word"

	superuser    = "postgres"
	startTimeout = time.Minute
	execTimeout  = time.Minute
	readyLine    = "database system is ready to accept connections"
)

// Server is one PostgreSQL server and the address that it keeps through
// restarts. Its methods are for the test's goroutine only.
type Server struct {
	t       testing.TB
	bin     string // folder of the programs
	dir     string // holds the cluster
	as      *syscall.Credential
	port    int
	args    []string
	process *proctest.Process // nil: not running
	schemas atomic.Int32
}

// Start makes a cluster, runs a server on it and returns when it accepts
// connections.
func Start(t testing.TB) *Server {
	t.Helper()
	return StartWith(t, nil)
}

// StartWith is Start with further arguments of the server, such as "-c",
// "ssl=on". DIR in them stands for a folder with private copies of files, which
// belong to the server.
func StartWith(t testing.TB, args []string, files ...string) *Server {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a real PostgreSQL; not run with -short")
	}
	bin, err := programs()
	if err != nil {
		t.Fatalf("%v: install the Debian package postgresql (apt-get install postgresql), "+
			"or run the tests with -short to leave these out", err)
	}
	s := &Server{t: t, bin: bin, as: somebody(t)}
	s.initialise()
	for _, arg := range args {
		s.args = append(s.args, strings.ReplaceAll(arg, "DIR", s.dir))
	}
	for _, file := range files {
		s.copy(file)
	}
	t.Cleanup(s.Kill)
	proctest.OnFreePort(t, func(port int) error {
		s.port = port
		return s.launch()
	})
	return s
}

// Run starts a server that was killed, on its address and its data, and
// returns when it accepts connections.
func (s *Server) Run() {
	s.t.Helper()
	if err := s.launch(); err != nil {
		s.t.Fatalf("starting PostgreSQL: %v", err)
	}
}

// Kill ends the server with SIGKILL, as a crash would, and waits until it is
// gone. It does nothing to a server that does not run.
func (s *Server) Kill() {
	if s.process != nil {
		s.process.Kill()
		s.process = nil
	}
}

// URL returns the address of an empty schema of its own in the server's
// database.
func (s *Server) URL() string {
	s.t.Helper()
	schema := fmt.Sprintf("test_%d", s.schemas.Add(1))
	s.Exec(s.url(nil), "CREATE SCHEMA "+schema)
	return s.url(url.Values{"search_path": {schema}})
}

// Address returns the address of the server's database with options, such as
// sslmode.
func (s *Server) Address(options url.Values) string { return s.url(options) }

func (s *Server) url(options url.Values) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(superuser, Password),
		Host: fmt.Sprintf("127.0.0.1:%d", s.port), Path: "/postgres", RawQuery: options.Encode(),
	}
	return u.String()
}

// Exec runs statements at an address that URL returned.
func (s *Server) Exec(address string, statements ...string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), execTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		s.t.Fatalf("connecting to PostgreSQL: %v", err)
	}
	defer conn.Close(ctx)
	for _, statement := range statements {
		if _, err := conn.Exec(ctx, statement); err != nil {
			s.t.Fatalf("%s: %v", statement, err)
		}
	}
}

// programs returns the folder of the newest server that is installed: where
// Debian keeps it, or on PATH.
func programs() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if err != nil {
		return "", err
	}
	newest, folder := -1, ""
	for _, path := range found {
		dir := filepath.Dir(path)
		version, err := strconv.Atoi(filepath.Base(filepath.Dir(dir)))
		if err == nil && version > newest {
			newest, folder = version, dir
		}
	}
	if folder != "" {
		return folder, nil
	}
	path, err := exec.LookPath("postgres")
	if err != nil {
		return "", errors.New("postgres is neither in /usr/lib/postgresql/*/bin nor on PATH")
	}
	return filepath.Dir(path), nil
}

// somebody returns whom the server runs as, since it refuses to run as root:
// postgres or nobody, or nil where the test is not run by root.
func somebody(t testing.TB) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
		}
	}
	t.Fatal("PostgreSQL does not run as root, and there is neither a user postgres nor nobody")
	return nil
}

// initialise makes the cluster. The folder is not t.TempDir, whose parents
// only the test's own user may enter.
func (s *Server) initialise() {
	s.t.Helper()
	dir, err := os.MkdirTemp("", "agiqa-postgres-")
	if err != nil {
		s.t.Fatal(err)
	}
	s.dir = dir
	s.t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			s.t.Errorf("removing PostgreSQL's folder: %v", err)
		}
	})
	secret := filepath.Join(dir, "password")
	if err := os.WriteFile(secret, []byte(Password), 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.as != nil {
		for _, path := range []string{dir, secret} {
			if err := os.Chown(path, int(s.as.Uid), int(s.as.Gid)); err != nil {
				s.t.Fatal(err)
			}
		}
	}
	cmd := exec.Command(filepath.Join(s.bin, "initdb"), "--pgdata", s.data(), "--username", superuser,
		"--auth", "scram-sha-256", "--pwfile", secret, "--encoding", "UTF8", "--no-locale", "--no-sync")
	cmd.Dir, cmd.SysProcAttr = dir, &syscall.SysProcAttr{Credential: s.as}
	proctest.Bind(cmd)
	if output, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("initdb: %v\n%s", err, output)
	}
}

// copy gives the server a private copy of a file.
func (s *Server) copy(file string) {
	s.t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		s.t.Fatal(err)
	}
	own := filepath.Join(s.dir, filepath.Base(file))
	if err := os.WriteFile(own, content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	if s.as != nil {
		if err := os.Chown(own, int(s.as.Uid), int(s.as.Gid)); err != nil {
			s.t.Fatal(err)
		}
	}
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// launch starts the process and waits for the line that says it is ready.
func (s *Server) launch() error {
	if s.process != nil {
		return errors.New("already running")
	}
	args := append([]string{"-D", s.data(), "-p", strconv.Itoa(s.port),
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories=", "-c", "logging_collector=off",
		"-c", "log_min_messages=log", "-c", "lc_messages=C",
		// In the cluster's own folder: a server that a test kills would leave
		// its segments in /dev/shm.
		"-c", "dynamic_shared_memory_type=mmap"}, s.args...)
	cmd := exec.Command(filepath.Join(s.bin, "postgres"), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, &syscall.SysProcAttr{Credential: s.as}
	var err error
	s.process, err = proctest.Start(cmd, readyLine, startTimeout)
	return err
}
