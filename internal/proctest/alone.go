//go:build unix

package proctest

import (
	"bytes"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"testing"
)

// alone names the test that a process was started for.
const alone = "AGIQA_TEST_ALONE"

// Alone runs a test again in a process of its own, where it may change what belongs
// to a whole process. The first process gets true when that is done, and has nothing
// left to do; the other one gets false. run starts the process and returns its output;
// nil stands for cmd.CombinedOutput.
//
// The tests of a package can't share that process: go test keeps a log in it, which
// a limit on files would break.
func Alone(t *testing.T, run func(cmd *exec.Cmd) ([]byte, error)) bool {
	t.Helper()
	if os.Getenv(alone) == t.Name() {
		return false
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=5m")
	cmd.Env = append(os.Environ(), alone+"="+t.Name())
	cmd.SysProcAttr = &syscall.SysProcAttr{}
	dieWithParent(cmd.SysProcAttr)
	if run == nil {
		run = (*exec.Cmd).CombinedOutput
	}
	if out, err := run(cmd); err != nil || !bytes.Contains(out, []byte("--- PASS: "+t.Name())) {
		t.Errorf("in a process of its own: %v\n%s", err, out)
	}
	return true
}

// FullDisk makes every write of this process to a file fail as on a full disk, until
// release is called or the test ends. The test must be [Alone].
func FullDisk(t testing.TB) (release func()) {
	t.Helper()
	if os.Getenv(alone) == "" {
		t.Fatal("the test shares its process with others")
	}
	signal.Ignore(syscall.SIGXFSZ) // which a write beyond the limit sends
	var was syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_FSIZE, &was); err != nil {
		t.Fatal(err)
	}
	full := was
	full.Cur = 1
	set := func(limit syscall.Rlimit) {
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			t.Error(err)
		}
	}
	set(full)
	t.Cleanup(func() { set(was) })
	return func() { set(was) }
}
