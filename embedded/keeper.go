package embedded

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// keeperArg, as the first argument, turns this program into a keeper.
const keeperArg = "__triton-keeper"

// order is what the supervisor writes to the keeper's standard input, as one
// JSON document. The input then stays open: its end is the order to stop.
type order struct {
	Path, Dir   string
	Args, Env   []string
	Mark        mark
	Shm, RunDir string
	LogFile     string
	LogMaxBytes int64
	Grace       time.Duration
}

// report is what the keeper writes to its standard output: one when the server
// runs or could not be started, one when it has ended and nothing is left.
type report struct {
	PID     int    `json:",omitempty"`
	Error   string `json:",omitempty"`
	Ended   string `json:",omitempty"`
	Crashed bool   `json:",omitempty"` // by a fault of its own
	Traces  string `json:",omitempty"` // what could not be removed
}

// KeeperMain runs the keeper if args, the whole of os.Args, call for it, and
// then returns its exit status and true. A program that calls [Start] calls
// this first thing in main and exits with the status:
//
//	if status, ran := embedded.KeeperMain(os.Args); ran {
//		os.Exit(status)
//	}
func KeeperMain(args []string) (status int, ran bool) {
	if len(args) != 2 || args[1] != keeperArg {
		return 0, false
	}
	// PR_SET_PDEATHSIG, set for the server below, looks at the thread that
	// started it and not at the process.
	runtime.LockOSThread()
	if err := keep(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "triton keeper:", err)
		return 1, true
	}
	return 0, true
}

func keep(in io.Reader, out io.Writer) error {
	// Ignored in the server too, by inheritance: when the keeper is killed, so
	// is the pipe that takes the log, and the server must end in order still.
	signal.Ignore(unix.SIGPIPE)
	stop := make(chan os.Signal, 1)
	signal.Notify(stop, unix.SIGTERM, unix.SIGINT, unix.SIGHUP)
	defer signal.Stop(stop)

	var o order
	orders := json.NewDecoder(in)
	if err := orders.Decode(&o); err != nil {
		return fmt.Errorf("read the order: %w", err)
	}
	reports := json.NewEncoder(out)
	k, err := begin(o)
	if err != nil {
		err = errors.Join(err, removeTraces(o.Shm, o.RunDir, o.Mark))
		return reports.Encode(report{Error: oneLine(err)})
	}
	// Nobody may be there to read it.
	_ = reports.Encode(report{PID: k.pid})

	parentGone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, in)
		close(parentGone)
	}()
	ended := k.watch(parentGone, stop)
	status, err := k.finish()
	last := report{Ended: describe(status), Crashed: crashed(status)}
	if ended != "" {
		last.Ended = ended
	}
	if err != nil {
		last.Traces = oneLine(err)
	}
	_ = reports.Encode(last)
	return nil
}

// keeper minds one running server.
type keeper struct {
	order
	pid    int
	log    *logFile
	copied chan struct{} // closed when the server's output has ended
	exited chan struct{} // closed when the server is dead and not yet collected
}

// begin starts the server, in a process group of its own, with its output
// going to the log.
func begin(o order) (*keeper, error) {
	// The name in ps, instead of "exe".
	_ = os.WriteFile("/proc/self/comm", []byte("triton-keeper"), 0)
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return nil, fmt.Errorf("become subreaper: %w", err)
	}
	log, err := openLog(o.LogFile, o.LogMaxBytes)
	if err != nil {
		return nil, err
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, err
	}
	defer null.Close()
	output, input, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer input.Close()
	pid, err := syscall.ForkExec(o.Path, append([]string{o.Path}, o.Args...), &syscall.ProcAttr{
		Dir:   o.Dir,
		Env:   o.Env,
		Files: []uintptr{null.Fd(), input.Fd(), input.Fd()},
		Sys:   &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM},
	})
	if err != nil {
		output.Close()
		return nil, fmt.Errorf("start %s: %w", o.Path, err)
	}
	k := &keeper{order: o, pid: pid, log: log, copied: make(chan struct{}), exited: make(chan struct{})}
	go func() {
		defer close(k.copied)
		_, _ = io.Copy(log, output)
	}()
	go func() {
		defer close(k.exited)
		awaitExit(pid)
	}()
	return k, nil
}

// awaitExit returns when pid is dead, without collecting it: until then its
// number, and that of its group, cannot be given to another process.
func awaitExit(pid int) {
	for {
		err := unix.Waitid(unix.P_PID, pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// stubGrace replaces the grace for a server with a dead stub: its other models
// may finish what they are at, and a request takes milliseconds.
const stubGrace = time.Second

// stubPatrol is how often the keeper looks for dead stubs. One must be seen
// dead twice: the server collects those that it ended itself.
const stubPatrol = time.Second

// watch returns when the server is dead, and says why if it was ended here.
func (k *keeper) watch(parentGone <-chan struct{}, stop <-chan os.Signal) (reason string) {
	patrol := time.NewTicker(stubPatrol)
	defer patrol.Stop()
	var suspects map[int]bool
	for {
		select {
		case <-k.exited:
			return ""
		case <-parentGone:
			return k.end("asked to stop", k.Grace)
		case s := <-stop:
			return k.end("keeper received "+s.String(), k.Grace)
		case <-patrol.C:
			dead := deadChildren(k.pid)
			for pid := range dead {
				if suspects[pid] {
					return k.end(fmt.Sprintf("its Python backend process %d died", pid), min(stubGrace, k.Grace))
				}
			}
			suspects = dead
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

// end stops the server: in order within the grace, by force after it.
func (k *keeper) end(reason string, grace time.Duration) string {
	_ = unix.Kill(k.pid, unix.SIGTERM)
	patience := time.NewTimer(grace)
	defer patience.Stop()
	select {
	case <-k.exited:
	case <-patience.C:
		reason += fmt.Sprintf("; killed after %v", grace)
		_ = unix.Kill(-k.pid, unix.SIGKILL)
		<-k.exited
	}
	return reason
}

// finish kills and collects every process below the keeper, and removes what
// they left. It is the reason for the keeper's being.
func (k *keeper) finish() (unix.WaitStatus, error) {
	// First the group as a whole, while the dead server still holds its number.
	_ = unix.Kill(-k.pid, unix.SIGKILL)
	status := collectAll(k.pid)
	select {
	case <-k.copied:
	case <-time.After(time.Second): // somebody we could not kill holds the pipe
	}
	return status, errors.Join(k.log.Close(), removeTraces(k.Shm, k.RunDir, k.Mark))
}

// collectAll kills the children of this process until there are none. Those of
// a child that died become ours. It returns the status of one of them.
func collectAll(wanted int) unix.WaitStatus {
	self := os.Getpid()
	var found unix.WaitStatus
	for {
		for _, p := range childrenOf(self) {
			if !p.dead {
				_ = unix.Kill(p.pid, unix.SIGKILL)
			}
		}
		var status unix.WaitStatus
		pid, err := unix.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return found
		case pid == wanted:
			found = status
		}
	}
}

// crashed reports whether a process ended by a fault of its own.
func crashed(s unix.WaitStatus) bool {
	return s.Signaled() && slices.Contains([]unix.Signal{unix.SIGABRT, unix.SIGSEGV, unix.SIGBUS}, s.Signal())
}

func describe(s unix.WaitStatus) string {
	if s.Signaled() {
		return "killed by " + s.Signal().String()
	}
	return fmt.Sprintf("ended with status %d", s.ExitStatus())
}
