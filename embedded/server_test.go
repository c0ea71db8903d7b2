package embedded_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/internal/proctest"
	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// patience is for things that happen on their own; nothing waits that long
// unless it fails.
const patience = 30 * time.Second

// started is a running server, the states that it goes through, and every
// process that may not outlive it.
type started struct {
	*embedded.Server
	states chan embedded.State
	cfg    embedded.Config
}

func startServer(t *testing.T, cfg embedded.Config) started {
	t.Helper()
	s := started{states: make(chan embedded.State, 100), cfg: cfg}
	cfg.OnState = func(state embedded.State) { s.states <- state }
	server, err := embedded.Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	s.Server = server
	t.Cleanup(func() {
		if err := server.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	s.await(t, embedded.Starting, embedded.Ready)
	return s
}

// await fails unless the next states are these.
func (s started) await(t *testing.T, want ...embedded.State) {
	t.Helper()
	for _, w := range want {
		select {
		case got := <-s.states:
			if got != w {
				t.Fatalf("state %q, want %q; log:\n%s", got, w, strings.Join(tail(s.Server), "\n"))
			}
		case <-time.After(patience):
			t.Fatalf("no change of state, want %q", w)
		}
	}
}

func tail(s *embedded.Server) []string {
	if s == nil {
		return nil
	}
	return s.Tail(20)
}

// lives is a set of processes, held open so that their IDs aren't reused.
type lives map[int]int // process ID to descriptor

// watchAll opens the processes in roots and everything below them.
func watchAll(t *testing.T, roots ...int) lives {
	t.Helper()
	held := lives{}
	for len(roots) > 0 {
		pid := roots[0]
		roots = roots[1:]
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatalf("process %d: %v", pid, err)
		}
		t.Cleanup(func() { unix.Close(fd) })
		held[pid] = fd
		for _, c := range embedded.ChildrenOf(pid) {
			roots = append(roots, c.PID())
		}
	}
	return held
}

// mustEnd fails unless all of them end.
func (l lives) mustEnd(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for pid, fd := range l {
		if !awaitPidfd(ctx, fd) {
			line, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
			t.Errorf("process %d (%q) is still there", pid, line)
		}
	}
}

// awaitPidfd reports whether the process ended before the deadline of ctx.
func awaitPidfd(ctx context.Context, pidfd int) bool {
	deadline, _ := ctx.Deadline()
	for {
		timeout := max(0, int(time.Until(deadline).Milliseconds()))
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(pidfd), Events: unix.POLLIN}}, timeout)
		if !errors.Is(err, unix.EINTR) {
			return n > 0
		}
	}
}

// leftoversIn lists the files in dir of the runs that process pid owned.
func leftoversIn(t *testing.T, dir string, pid int) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, fmt.Sprintf("agiqa_%d_*", pid)))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func noLeftovers(t *testing.T, cfg embedded.Config, pid int) {
	t.Helper()
	for _, dir := range []string{"/dev/shm", cfg.RunDir, "/tmp"} {
		if left := leftoversIn(t, dir, pid); len(left) > 0 {
			t.Errorf("left in %s: %v", dir, left)
		}
	}
}

// dial returns a client of a server, which no connection outlives.
func dial(t *testing.T, addr string) (pb.GRPCInferenceServiceClient, func()) {
	t.Helper()
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	return pb.NewGRPCInferenceServiceClient(conn), func() { conn.Close() }
}

func isReady(t *testing.T, addr string) {
	t.Helper()
	client, hangUp := dial(t, addr)
	defer hangUp()
	if resp, err := client.ServerReady(t.Context(), &pb.ServerReadyRequest{}); err != nil || !resp.GetReady() {
		t.Fatalf("ready: %v, %v", resp.GetReady(), err)
	}
}

func TestStartServesOnASocketAndStopLeavesNothing(t *testing.T) {
	s := startServer(t, newFakeMachine(t).config(t))
	if got, want := s.Version(), "2.51.0"; got != want {
		t.Errorf("version %q, want %q", got, want)
	}
	if got := s.State(); got != embedded.Ready {
		t.Errorf("state %q, want ready", got)
	}
	if got, want := s.Models(), []string{"echo"}; !slices.Equal(got, want) {
		t.Errorf("models %q, want %q", got, want)
	}
	isReady(t, s.GRPCAddr())
	mustBePrivate(t, s)
	if left := leftoversIn(t, "/dev/shm", os.Getpid()); len(left) != 1 {
		t.Fatalf("regions %v, want one: the fake server makes it", left)
	}
	family := watchAll(t, s.PID())
	if len(family) != 3 {
		t.Fatalf("%d processes, want server and two stubs", len(family))
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.await(t, embedded.Stopping, embedded.Stopped)
	family.mustEnd(t)
	noLeftovers(t, s.cfg, os.Getpid())
	if pid := s.PID(); pid != 0 {
		t.Errorf("process %d after the stop, want 0", pid)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Errorf("second stop: %v", err)
	}
	if got, want := s.Tail(1), []string{"fake server speaks"}; !slices.Equal(got, want) {
		t.Errorf("log %q, want %q", got, want)
	}
}

// awkward is the name of a folder that breaks a shell, a list of paths, or a
// decoder of ASCII or UTF-8. As a command it creates the file that $PWNED names.
const awkward = "a b é\xe9: $(touch $PWNED) `touch $PWNED` 'q\"';touch $PWNED&\nz"

// inAwkwardFolders moves the data folder, and has the run folders in a folder
// of the test. The returned check fails if a path was executed or anything but
// the log and the data folder is left.
func inAwkwardFolders(t *testing.T, cfg *embedded.Config) (check func()) {
	t.Helper()
	state, runtime := filepath.Join(t.TempDir(), awkward), proctest.ShortDir(t)
	pwned := filepath.Join(t.TempDir(), "pwned")
	cfg.RunDir = filepath.Join(state, "run")
	cfg.LogFile = filepath.Join(state, "triton.log")
	cfg.Env = append(os.Environ(), "PWNED="+pwned, "XDG_RUNTIME_DIR="+runtime, "LANG=C", "LC_ALL=C")
	return func() {
		t.Helper()
		if _, err := os.Stat(pwned); err == nil {
			t.Error("a path was executed")
		}
		if entries, err := os.ReadDir(runtime); err != nil || len(entries) > 0 {
			t.Errorf("left in the run folder: %v, %v", entries, err)
		}
		if _, err := os.Stat(cfg.LogFile); err != nil {
			t.Errorf("no log: %v", err)
		}
		noLeftovers(t, *cfg, os.Getpid())
	}
}

func TestStartInAwkwardFolders(t *testing.T) {
	m := newFakeMachineIn(t, filepath.Join(t.TempDir(), awkward))
	cfg := m.config(t)
	later := filepath.Join(t.TempDir(), awkward)
	write(t, filepath.Join(later, "file"), "")
	cfg.LaterRepositories = []string{later}
	defer inAwkwardFolders(t, &cfg)()
	s := startServer(t, cfg)
	cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", s.PID()))
	if err != nil || bytes.ContainsAny(cmdline, "$`'\";& \n") {
		t.Errorf("command line %q (%v), want plain paths", cmdline, err)
	}
	cwd, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", s.PID()))
	if here, _ := os.Getwd(); err != nil || cwd == here {
		t.Errorf("working directory %q (%v): Python would import whatever lies there", cwd, err)
	}
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

// A terminal's Ctrl-C goes to the foreground process group, a hang-up to the
// session: the server must be in neither.
func TestServerIsInAnotherSession(t *testing.T) {
	s := startServer(t, newFakeMachine(t).config(t))
	own, err := unix.Getsid(0)
	if err != nil {
		t.Fatal(err)
	}
	if session, err := unix.Getsid(s.PID()); err != nil || session == own {
		t.Errorf("the server is in session %d (%v), the test in %d", session, err, own)
	}
	if group, err := unix.Getpgid(s.PID()); err != nil || group != s.PID() {
		t.Errorf("the server's group is %d (%v), want its own %d", group, err, s.PID())
	}
}

func TestStopKillsAServerThatDoesNotListen(t *testing.T) {
	m := newFakeMachine(t)
	m.control(t, "deaf")
	t.Run("after the grace", func(t *testing.T) {
		cfg := m.config(t)
		cfg.StopGrace = 50 * time.Millisecond
		s := startServer(t, cfg)
		family := watchAll(t, s.PID())
		if err := s.Stop(t.Context()); err != nil {
			t.Error(err)
		}
		family.mustEnd(t)
		noLeftovers(t, cfg, os.Getpid())
	})
	t.Run("when the caller is out of time", func(t *testing.T) {
		cfg := m.config(t)
		cfg.StopGrace = time.Hour
		s := startServer(t, cfg)
		family := watchAll(t, s.PID())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Stop(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("stop: %v, want canceled", err)
		}
		family.mustEnd(t)
		noLeftovers(t, cfg, os.Getpid())
	})
}

// agiqaProcess is a process that starts a server.
type agiqaProcess struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startAgiqa(t *testing.T, cfg embedded.Config, env ...string) agiqaProcess {
	t.Helper()
	cfg.Env = nil
	text, err := json.Marshal(struct {
		embedded.Config
		Logger, OnState *int `json:",omitempty"` // not for JSON
	}{Config: cfg})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "__agiqa", string(text))
	cmd.Env = append(os.Environ(), env...)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	a := agiqaProcess{Cmd: cmd, in: in, out: bufio.NewReader(out)}
	t.Cleanup(a.kill)
	return a
}

// kill kills the process, if it still runs.
func (a agiqaProcess) kill() {
	_ = a.Process.Kill()
	_ = a.Wait()
}

// server waits until the server is ready and returns its process ID.
func (a agiqaProcess) server(t *testing.T) (pid int) {
	t.Helper()
	line, _ := a.out.ReadString('\n')
	if _, err := fmt.Sscanf(line, "server %d", &pid); err != nil {
		t.Fatalf("agiqa prints %q: %v", line, err)
	}
	return pid
}

func kill(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if err := unix.Kill(pid, unix.SIGKILL); err != nil {
			t.Fatalf("kill %d: %v", pid, err)
		}
	}
}

// A kill -9 of agiqa kills the server, even one that ignores SIGTERM. The stubs
// of this fake outlive it, unlike Triton's: they and the files are for the next
// start.
func TestNextStartCleansUpAfterAKilledAgiqa(t *testing.T) {
	for name, control := range map[string]string{"server obeys SIGTERM": "", "server ignores SIGTERM": "deaf"} {
		t.Run(name, func(t *testing.T) {
			m := newFakeMachine(t)
			m.control(t, control)
			cfg := m.config(t)
			agiqa := startAgiqa(t, cfg)
			server := agiqa.server(t)
			family := watchAll(t, server)
			agiqa.kill()
			lives{server: family[server]}.mustEnd(t)
			for _, dir := range []string{"/dev/shm", cfg.RunDir} {
				if n := len(leftoversIn(t, dir, agiqa.Process.Pid)); n != 1 {
					t.Errorf("%d leftovers in %s, want 1, or the test proves nothing", n, dir)
				}
			}
			m.control(t)
			s := startServer(t, cfg)
			family.mustEnd(t)
			noLeftovers(t, cfg, agiqa.Process.Pid)
			isReady(t, s.GRPCAddr())
		})
	}
}

// As process 1 of a container, agiqa becomes the parent of a dead server's stubs.
func TestStopReapsAdoptedProcesses(t *testing.T) {
	cfg := newFakeMachine(t).config(t)
	agiqa := startAgiqa(t, cfg, subreaperVariable+"=1")
	agiqa.server(t)
	if err := agiqa.in.Close(); err != nil {
		t.Fatal(err)
	}
	if line, err := agiqa.out.ReadString('\n'); line != "stopped\n" {
		t.Fatalf("agiqa prints %q (%v), want stopped", line, err)
	}
	if children := embedded.ChildrenOf(agiqa.Process.Pid); len(children) > 0 {
		t.Errorf("agiqa still has the children %+v", children)
	}
	noLeftovers(t, cfg, agiqa.Process.Pid)
}

func TestServerComesBackOnTheSameSocket(t *testing.T) {
	for name, disrupt := range map[string]func(t *testing.T, s started){
		"server killed": func(t *testing.T, s started) { kill(t, s.PID()) },
		"asked for":     func(_ *testing.T, s started) { s.Restart() },
		"stub killed": func(t *testing.T, s started) {
			for _, c := range embedded.ChildrenOf(s.PID()) {
				kill(t, c.PID())
				return
			}
			t.Fatal("no stub")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, newFakeMachine(t).config(t))
			before := s.GRPCAddr()
			isReady(t, before)
			pid, family := s.PID(), watchAll(t, s.PID())
			disrupt(t, s)
			s.await(t, embedded.Restarting, embedded.Ready)
			family.mustEnd(t)
			if after := s.GRPCAddr(); after != before {
				t.Errorf("address %s, before %s", after, before)
			}
			isReady(t, before)
			if got := s.Restarts(); got != 1 {
				t.Errorf("restarts %d, want 1", got)
			}
			if s.PID() == pid || s.PID() == 0 {
				t.Errorf("process %d, want a new one (was %d)", s.PID(), pid)
			}
			if left := leftoversIn(t, "/dev/shm", os.Getpid()); len(left) != 1 {
				t.Errorf("regions %v, want those of the new server alone", left)
			}
		})
	}
}

func TestGivesUpAfterTheLimit(t *testing.T) {
	m := newFakeMachine(t)
	m.control(t, "fail-later")
	s := startServer(t, m.config(t))
	kill(t, s.PID())
	s.await(t, embedded.Restarting, embedded.Restarting, embedded.Restarting, embedded.Failed)
	select {
	case <-s.Done():
	case <-time.After(patience):
		t.Fatal("not done")
	}
	err := s.Err()
	if err == nil || !strings.Contains(err.Error(), "3 restarts") || !strings.Contains(err.Error(), "the model exploded") {
		t.Errorf("error %v, want the limit and the end of the log", err)
	}
	starts, readErr := os.ReadFile(filepath.Join(m.repository, "starts"))
	if got := strings.Count(string(starts), "\n"); readErr != nil || got != 4 {
		t.Errorf("%d starts (%v), want 1 and 3 more", got, readErr)
	}
	noLeftovers(t, s.cfg, os.Getpid())
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	if got := s.State(); got != embedded.Failed {
		t.Errorf("state %q, want it to stay failed", got)
	}
}

func TestStopDuringARestart(t *testing.T) {
	cfg := newFakeMachine(t).config(t)
	cfg.Restart.Initial, cfg.Restart.Max = time.Hour, time.Hour
	s := startServer(t, cfg)
	kill(t, s.PID())
	s.await(t, embedded.Restarting)
	if err := s.Stop(t.Context()); err != nil {
		t.Error(err)
	}
	s.await(t, embedded.Stopped)
	noLeftovers(t, cfg, os.Getpid())
}

// Triton crashes now and then while it starts.
func TestStartGoesOnAfterACrash(t *testing.T) {
	m := newFakeMachine(t)
	m.control(t, "crash-once")
	cfg := m.config(t)
	startServer(t, cfg)
	starts, err := os.ReadFile(filepath.Join(m.repository, "starts"))
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(starts), "\n"); n != 2 {
		t.Errorf("%d starts, want 2", n)
	}
}

func TestStartFails(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	tests := []struct {
		name    string
		ctx     context.Context
		control string
		change  func(*testing.T, fakeMachine, *embedded.Config)
		want    []string
	}{
		{name: "the server ends", control: "fail", want: []string{"ended with status 3", "the model exploded"}},
		{name: "the server crashes", control: "crash", want: []string{"killed by aborted", "lock_exception"}},
		{
			name: "the server is never ready", control: "mute",
			change: func(_ *testing.T, _ fakeMachine, c *embedded.Config) {
				c.StartTimeout = 2 * time.Second // long enough to print a line
			},
			want: []string{"not ready", "deadline exceeded", "fake server speaks"},
		},
		{name: "the caller gives up", ctx: cancelled, want: []string{"canceled"}},
		{
			name:   "a setting is wrong",
			change: func(_ *testing.T, _ fakeMachine, c *embedded.Config) { c.ShmBytes, c.ConfigName = 1, "a/b" },
			want:   []string{"ShmBytes is 1", `ConfigName "a/b"`},
		},
		{
			name: "the environment is missing",
			change: func(t *testing.T, _ fakeMachine, c *embedded.Config) {
				c.Venv = filepath.Join(t.TempDir(), "none")
			},
			want: []string{"no Python environment at", "make venv"},
		},
		{
			name: "the server cannot be executed",
			change: func(t *testing.T, m fakeMachine, _ *embedded.Config) {
				write(t, filepath.Join(m.sitePackages, "pytriton", "tritonserver", "bin", "tritonserver"), "#!/no/such/shell\n")
			},
			want: []string{"tritonserver", "ended with status 12"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newFakeMachine(t)
			m.control(t, tt.control)
			cfg := m.config(t)
			if tt.change != nil {
				tt.change(t, m, &cfg)
			}
			ctx := t.Context()
			if tt.ctx != nil {
				ctx = tt.ctx
			}
			s, err := embedded.Start(ctx, cfg)
			if err == nil {
				_ = s.Stop(context.Background())
				t.Fatal("it started")
			}
			for _, w := range tt.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("error %q lacks %q", err, w)
				}
			}
			noLeftovers(t, cfg, os.Getpid())
		})
	}
}

func TestOldLogIsKeptAside(t *testing.T) {
	cfg := newFakeMachine(t).config(t)
	write(t, cfg.LogFile, "of the run before\n")
	leaveOpen(t, cfg.LogFile)
	s := startServer(t, cfg)
	if got, want := s.Tail(10), []string{"of the run before", "fake server speaks"}; !slices.Equal(got, want) {
		t.Errorf("tail %q, want %q", got, want)
	}
	old, err := os.ReadFile(cfg.LogFile + ".1")
	if err != nil || string(old) != "of the run before\n" {
		t.Errorf("old log %q, %v", old, err)
	}
	mustBePrivate(t, s)
}
