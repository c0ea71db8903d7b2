package main

import (
	"bufio"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agiqa/agiqa/internal/certtest"
	"github.com/agiqa/agiqa/internal/testimages"
)

// noTriton is an address where nothing listens.
const noTriton = "127.0.0.1:1"

// TestSecondSignalEndsAtOnce: whoever doesn't want to wait for a shutdown says so.
func TestSecondSignalEndsAtOnce(t *testing.T) {
	for _, second := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(second.String(), func(t *testing.T) {
			p := startListening(t, []string{"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_DRAIN_TIMEOUT=10m", "AGIQA_DRAIN_DELAY=2m"},
				noTriton)
			send := func(signal syscall.Signal) {
				if err := p.cmd.Process.Signal(signal); err != nil {
					t.Fatal(err)
				}
			}
			send(syscall.SIGTERM)
			eventually(t, "it drains", func() bool { return len(p.records("shutting down")) == 1 })
			send(second)
			select {
			case <-p.done:
			case <-time.After(10 * time.Second):
				t.Fatal("it goes on")
			}
			if status := p.cmd.ProcessState.ExitCode(); status != 130 {
				t.Errorf("exit status %d, want 130", status)
			}
			if n := strings.Count(p.stderr(), "second signal, stopping at once\n"); n != 1 {
				t.Errorf("it says so %d times: %s", n, p.stderr())
			}
		})
	}
}

// TestHangup: serve reads its certificate again and goes on serving; a command that
// ends with its terminal, such as up, ends as with SIGTERM.
func TestHangup(t *testing.T) {
	t.Run("serve", func(t *testing.T) {
		authority, dir := certtest.NewAuthority(t), t.TempDir()
		pair := certtest.Pair{Cert: filepath.Join(dir, "cert.pem"), Key: filepath.Join(dir, "key.pem")}
		authority.IssueLocal(t, pair, 1, time.Now().Add(time.Hour))
		p := startListening(t, []string{"AGIQA_DATA_DIR=" + t.TempDir(), "AGIQA_TLS_CERT=" + pair.Cert,
			"AGIQA_TLS_KEY=" + pair.Key}, noTriton)
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it reads the certificate again",
			func() bool { return len(p.records("SIGHUP: reading the certificate again")) == 1 })
		authority.IssueLocal(t, pair, 2, time.Now().Add(2*time.Hour))
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it uses a new one",
			func() bool { return len(p.records("a new certificate is in use")) == 1 })
		p.stop(t, syscall.SIGTERM)
		if status := p.cmd.ProcessState.ExitCode(); status != 0 {
			t.Errorf("exit status %d: %s", status, p.stderr())
		}
	})
	t.Run("up", func(t *testing.T) {
		p := startUp(t, []string{"AGIQA_IMAGE_CACHE_BYTES=0"})
		pid := p.tritonPID(t)
		if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
			t.Fatal(err)
		}
		answers := make(chan answered)
		go func() { answers <- post(t, p.url+"/v1/score", "image/png", testimages.PNG(16, 16)) }()
		eventually(t, "the request is accepted",
			func() bool { return p.metric(t, "agiqa_requests_active") >= 2 })
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it drains", func() bool { return len(p.records("shutting down")) == 1 })
		if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
			t.Fatal(err)
		}
		if a := <-answers; a.status != 200 {
			t.Errorf("status %d, %+v: the request was cut", a.status, a.problem)
		}
		<-p.done
		if status := p.cmd.ProcessState.ExitCode(); status != 0 {
			t.Errorf("exit status %d: %s", status, p.stderr())
		}
	})
	t.Run("under nohup", func(t *testing.T) {
		cmd := command(t, nil, "bench", "stub-http", "--listen", "127.0.0.1:0")
		// As nohup does. A signal that counts would make SIGTERM the second one.
		cmd.Args = append([]string{"sh", "-c", `trap "" HUP; exec "$@"`, "sh", cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		stdout, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stderr = os.Stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer func() { _ = cmd.Process.Kill() }()
		lines := bufio.NewScanner(stdout)
		if !lines.Scan() {
			t.Fatal("it says nothing")
		}
		for _, signal := range []syscall.Signal{syscall.SIGHUP, syscall.SIGTERM} {
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
		}
		_ = cmd.Wait()
		if status := cmd.ProcessState.ExitCode(); status == 130 || !cmd.ProcessState.Exited() {
			t.Errorf("%s: SIGHUP counted", cmd.ProcessState)
		}
	})
}
