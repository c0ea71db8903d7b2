// Package tritonservertest starts the wheel's tritonserver on a TCP port, with
// options of the caller's, as somebody would who runs Triton apart from agiqa.
package tritonservertest

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/proctest"
)

// startTimeout bounds a start on a busy machine.
const startTimeout = 60 * time.Second

var started = regexp.MustCompile(`Started GRPCInferenceService at (\S+?)"?\n`)

// Start serves all models of model_repository in root, the project's, and
// returns host:port of gRPC. It fails where the Python environment is missing.
func Start(t testing.TB, root string, options ...string) string {
	t.Helper()
	root, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	venv := filepath.Join(root, ".venv")
	python := describe(t, venv)
	dir := proctest.ShortDir(t)
	// Triton's stubs take no path with a space or a letter beyond ASCII.
	repository, packages := filepath.Join(dir, "models"), filepath.Join(dir, "packages")
	plain := map[string]string{
		repository: filepath.Join(root, "model_repository"), packages: python.Packages,
		filepath.Join(dir, "venv"): venv, filepath.Join(dir, "library"): python.Library,
	}
	for link, target := range plain {
		if err := os.Symlink(target, link); err != nil {
			t.Fatal(err)
		}
	}
	wheel := filepath.Join(packages, "pytriton", "tritonserver")
	backend := filepath.Join(dir, "backends", "python")
	if err := os.MkdirAll(backend, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, pattern := range []string{"backends/python/*", "python_backend_stubs/" + python.Version + "/*"} {
		files, err := filepath.Glob(filepath.Join(wheel, pattern))
		if err != nil || len(files) == 0 {
			t.Fatalf("no %s in %s (%v); make it with: make venv", pattern, wheel, err)
		}
		for _, file := range files {
			if err := os.Symlink(file, filepath.Join(backend, filepath.Base(file))); err != nil {
				t.Fatal(err)
			}
		}
	}
	prefix := filepath.Base(dir) + "_"
	args := append([]string{
		"--model-repository=" + repository,
		"--backend-directory=" + filepath.Join(dir, "backends"),
		"--model-config-name=embedded", "--disable-auto-complete-config", "--strict-readiness=false",
		"--model-control-mode=explicit", "--load-model=*", "--allow-gpu-metrics=false", "--pinned-memory-pool-byte-size=0",
		"--backend-config=python,shm-default-byte-size=1048576", "--backend-config=python,shm-region-prefix-name=" + prefix,
		"--allow-http=false", "--allow-metrics=false", "--exit-timeout-secs=3",
		"--grpc-address=127.0.0.1", "--grpc-port=" + fmt.Sprint(proctest.FreePort(t)),
	}, options...)
	cmd := exec.Command(filepath.Join(wheel, "bin", "tritonserver"), args...)
	var log proctest.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, &log, &log
	cmd.Env = append(os.Environ(), "PATH="+filepath.Join(dir, "venv", "bin")+":"+os.Getenv("PATH"),
		"LD_LIBRARY_PATH="+filepath.Join(packages, "nvidia_pytriton.libs")+":"+filepath.Join(dir, "library"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.WaitDelay = time.Second
	ended := run(t, cmd)
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-ended
		regions, _ := filepath.Glob("/dev/shm/" + prefix + "*")
		for _, region := range regions {
			os.Remove(region)
		}
	})
	deadline, tick := time.After(startTimeout), time.NewTicker(20*time.Millisecond)
	defer tick.Stop()
	for {
		if m := started.FindStringSubmatch(log.String()); m != nil {
			return m[1]
		}
		select {
		case <-tick.C:
		case <-ended:
			t.Fatalf("tritonserver ended:\n%s", log.String())
		case <-deadline:
			t.Fatalf("tritonserver isn't ready after %v:\n%s", startTimeout, log.String())
		}
	}
}

// run starts a command whose parent-death signal is that of a thread which
// lives as long as the process. The channel is closed when it has ended.
func run(t testing.TB, cmd *exec.Cmd) <-chan struct{} {
	t.Helper()
	failed, ended := make(chan error), make(chan struct{})
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		failed <- err
		if err == nil {
			_ = cmd.Wait()
		}
		close(ended)
	}()
	if err := <-failed; err != nil {
		t.Fatal(err)
	}
	return ended
}

// interpreter is the Python of an environment.
type interpreter struct{ Version, Packages, Library string }

func describe(t testing.TB, venv string) interpreter {
	t.Helper()
	const script = `import json, sys, sysconfig
print(json.dumps({"Version": "%d.%d" % sys.version_info[:2], "Packages": sysconfig.get_paths()["purelib"],
    "Library": sysconfig.get_config_var("LIBDIR")}))`
	out, err := exec.Command(filepath.Join(venv, "bin", "python"), "-c", script).Output()
	var python interpreter
	if err == nil {
		err = json.Unmarshal(out, &python)
	}
	if err != nil {
		t.Fatalf("no Python in %s (%v); make it with: make venv, or leave the real tritonserver out with go test -short",
			venv, err)
	}
	return python
}
