package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agiqa/agiqa/embedded"
)

// actAsProgram makes the test binary behave as agiqa itself, so that the tests
// below drive the real program, race detector included, without building it.
const actAsProgram = "AGIQA_TEST_ACT_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(actAsProgram) != "" {
		_ = os.Unsetenv(actAsProgram)
		checkAnswers(endOnContradiction)
		os.Exit(run())
	}
	os.Exit(checkedRun(m))
}

// repository is the root of the project, seen from this package.
const repository = "../.."

// needsTriton skips under -short, and fails where the Python environment is
// missing: an integration test that did not run must not look like one that
// passed.
func needsTriton(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("integration test; not under -short")
	}
	if _, err := os.Stat(filepath.Join(repository, ".venv", "agiqa.stamp")); err != nil {
		t.Fatal("no .venv at the top of the repository; make it with: make venv")
	}
}

// needsWholeTraces fails where the embedded Triton would lose some of its own
// spans.
func needsWholeTraces(t *testing.T) {
	t.Helper()
	if f := embedded.TracesWhole(); f.Fix != "" {
		t.Fatalf("%s; mend it with: %s", f.Detail, f.Fix)
	}
}

func command(t *testing.T, env []string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, args...)
	cmd.Dir = repository
	// The small encoder, whatever .cache has: TestDefaultEncoder is for the other.
	cmd.Env = append(os.Environ(), actAsProgram+"=1", "AGIQA_LOG_FORMAT=json", "AGIQA_MODEL_REPOSITORY=model_repository")
	cmd.Env = append(cmd.Env, env...)
	return cmd
}

// runCommand runs a command that ends by itself.
func runCommand(t *testing.T, env []string, stdin io.Reader, args ...string) (stdout, stderr string, status int) {
	t.Helper()
	cmd := command(t, env, args...)
	var out, errs bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &errs
	err := cmd.Run()
	if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
		t.Fatal(err)
	}
	return out.String(), errs.String(), cmd.ProcessState.ExitCode()
}

// buildProgram builds agiqa without the race detector, for what that would make
// too slow or measure instead.
func buildProgram(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "agiqa")
	if text, err := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-o", program,
		".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return program
}

// process is a running agiqa up.
type process struct {
	cmd  *exec.Cmd
	url  string
	grpc string
	key  string        // to read metrics with; "": none is needed
	done chan struct{} // closed when it has ended

	mu  sync.Mutex
	log []map[string]any
	err strings.Builder
}

// startUp starts agiqa up and returns when it says that it is ready.
func startUp(t *testing.T, env []string, args ...string) *process {
	t.Helper()
	return startUpIn(t, repository, env, args...)
}

// startUpIn is startUp in another folder than the repository.
func startUpIn(t *testing.T, dir string, env []string, args ...string) *process {
	t.Helper()
	needsTriton(t)
	env = append([]string{"AGIQA_DATA_DIR=" + t.TempDir()}, env...)
	cmd := command(t, env, append([]string{"up", "--listen", "127.0.0.1:0"}, args...)...)
	cmd.Dir = dir
	return startServer(t, cmd)
}

// startServer starts a command that is agiqa up and returns when it says that it
// is ready.
func startServer(t *testing.T, cmd *exec.Cmd) *process {
	t.Helper()
	p := &process{cmd: cmd, done: make(chan struct{})}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var streams sync.WaitGroup
	streams.Go(func() { p.readLog(stderr) })
	ready := make(chan bool, 1)
	streams.Go(func() { p.readBanner(stdout, ready) })
	go func() { streams.Wait(); _ = p.cmd.Wait(); close(p.done) }()
	t.Cleanup(func() { p.stop(t, syscall.SIGTERM) })
	select {
	case ok := <-ready:
		t.Cleanup(func() { wantDeclared(t, p) }) // before it is stopped
		if !ok {
			t.Fatalf("agiqa up ended before it was ready:\n%s", p.stderr())
		}
	case <-time.After(90 * time.Second):
		t.Fatalf("agiqa up is not ready after 90 s:\n%s", p.stderr())
	}
	return p
}

var (
	bannerURL  = regexp.MustCompile(`address +(http://\S+)`)
	bannerGRPC = regexp.MustCompile(`gRPC on ([^ ,]+)`)
)

func (p *process) readBanner(r io.Reader, ready chan<- bool) {
	var text strings.Builder
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		text.WriteString(lines.Text() + "\n")
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			p.url, p.grpc = bannerURL.FindStringSubmatch(text.String())[1], bannerGRPC.FindStringSubmatch(text.String())[1]
			ready <- true
		}
	}
	ready <- false
}

func (p *process) readLog(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.mu.Lock()
		p.err.WriteString(lines.Text() + "\n")
		var record map[string]any
		if json.Unmarshal(lines.Bytes(), &record) == nil {
			p.log = append(p.log, record)
		}
		p.mu.Unlock()
	}
}

func (p *process) stderr() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err.String()
}

// records returns the log records with that message.
func (p *process) records(message string) []map[string]any {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []map[string]any
	for _, r := range p.log {
		if r["msg"] == message {
			out = append(out, r)
		}
	}
	return out
}

// tritonPID is the process that serves at the moment.
func (p *process) tritonPID(t *testing.T) int {
	t.Helper()
	ready := p.records("triton ready")
	if len(ready) == 0 {
		t.Fatal("the log does not say that triton is ready")
	}
	return int(ready[len(ready)-1]["pid"].(float64))
}

// stop sends a signal and waits for the end. It may be called twice.
func (p *process) stop(t *testing.T, sig syscall.Signal) {
	t.Helper()
	select {
	case <-p.done:
		return
	default:
	}
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
	case <-time.After(45 * time.Second):
		_ = p.cmd.Process.Kill()
		t.Errorf("agiqa up did not end within 45 s of %s:\n%s", sig, p.stderr())
	}
}

// patience is how long to wait for another process. The machine may have much else to
// do, so it says nothing of how fast that is.
const patience = 2 * time.Minute

// eventually waits for a condition that another process brings about.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !condition() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("not within %s: %s", patience, what)
		}
	}
}

// family lists the processes whose environment or command line shows that they
// belong to the run in dir.
func family(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		b, err := os.ReadFile(e)
		if err == nil && bytes.Contains(b, []byte(dir)) {
			out = append(out, fmt.Sprintf("%s: %s", e, bytes.ReplaceAll(b, []byte{0}, []byte(" "))))
		}
	}
	return out
}

// sharedMemory lists the regions that runs of this process id left.
func sharedMemory(t *testing.T, pid int) []string {
	t.Helper()
	regions, err := filepath.Glob(fmt.Sprintf("/dev/shm/agiqa_%d_*", pid))
	if err != nil {
		t.Fatal(err)
	}
	return regions
}
