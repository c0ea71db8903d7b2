//go:build unix

package proctest_test

import (
	"errors"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/proctest"
)

func shell(script string) *exec.Cmd { return exec.Command("/bin/sh", "-c", script) }

func TestProcessIsReadyAndIsKilledWithItsChildren(t *testing.T) {
	p, err := proctest.Start(shell("sleep 600 & echo a child >&2; echo now ready; wait"), "ready", 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if p.Log() != "a child\nnow ready\n" {
		t.Errorf("the log is %q", p.Log())
	}
	// The child holds the output open: Kill would wait for it forever.
	p.Kill()
	p.Kill() // of one that is gone: nothing
	if err := p.Signal(syscall.SIGCONT); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("a signal to nobody: %v", err)
	}
}

func TestStartSaysWhyItFailed(t *testing.T) {
	for _, c := range []struct {
		name, script, want string
		within             time.Duration
	}{
		{"ended", "echo cannot; exit 3", "ended before it was ready: exit status 3\ncannot", 20 * time.Second},
		{"slow", "echo waiting; exec sleep 600", "is not ready within", 100 * time.Millisecond},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := proctest.Start(shell(c.script), "never said", c.within)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %v", err)
			}
		})
	}
	if _, err := proctest.Start(exec.Command("/no/such/program"), "ready", time.Second); err == nil {
		t.Error("a program that is not there was started")
	}
}

// A program that says much is not blocked by nobody reading it.
func TestOutputIsReadToTheEnd(t *testing.T) {
	p, err := proctest.Start(shell("head -c 300000 /dev/zero | tr '\\0' x; echo; echo ready; exec sleep 600"), "ready",
		20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer p.Kill()
	if n := len(p.Log()); n != 64<<10 {
		t.Errorf("%d bytes are kept", n)
	}
}

func TestOnFreePortTriesOthers(t *testing.T) {
	var ports []int
	proctest.OnFreePort(t, func(port int) error {
		ports = append(ports, port)
		if len(ports) < 3 {
			return errors.New("taken")
		}
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err == nil {
			err = l.Close()
		}
		return err
	})
	if len(ports) != 3 {
		t.Errorf("tried %v", ports)
	}
}
