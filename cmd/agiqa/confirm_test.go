//go:build unix

package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/creack/pty"
	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/proof"
)

// asking are the commands that ask, each with the question.
var asking = map[string]struct {
	args     []string
	question string
}{
	"checkpoint remove":   {[]string{"x"}, "Remove checkpoint x on "},
	"experiment delete":   {[]string{"x"}, "Delete experiment x on "},
	"experiment stop":     {[]string{"x"}, "Stop experiment x on "},
	"experiment rollback": {[]string{"x"}, "Rollback experiment x on "},
	"experiment promote":  {[]string{"x", "new"}, "Promote arm new of experiment x on "},
	"key revoke":          {[]string{"x"}, "Revoke API key x on "},
}

// What no command undoes has --yes, and nothing else does.
func TestCommandsThatAsk(t *testing.T) {
	var got []string
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.Flags().Lookup("yes") != nil {
			got = append(got, strings.TrimPrefix(cmd.CommandPath(), "agiqa "))
		}
		for _, c := range cmd.Commands() {
			visit(c)
		}
	}
	visit(newRoot(&cli.Terminal{}))
	var want []string
	for name := range asking {
		want = append(want, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("%q ask, want %q", got, want)
	}
}

// changeServer knows the admin key, and counts requests that change something.
func changeServer(t *testing.T, changes *atomic.Int64) string {
	t.Helper()
	key := proofKey()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == proof.Path {
			var c proof.Challenge
			if err := json.NewDecoder(r.Body).Decode(&c); err != nil {
				t.Error(err)
			}
			_ = json.NewEncoder(w).Encode(key.Answer(c)) // a client that left
			return
		}
		if r.Method != http.MethodGet {
			changes.Add(1)
		}
		_, _ = io.WriteString(w, `{"name":"agiqa"}`)
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// proofKey is derived once: that takes a moment.
var proofKey = sync.OnceValue(func() proof.Key {
	key, err := proof.Derive(testAdminKey)
	if err != nil {
		panic(err)
	}
	return key
})

func TestAsksOnATerminal(t *testing.T) {
	for name, command := range asking {
		for typed, want := range map[string]int64{"y\n": 1, "Yes\n": 1, "\n": 0, "n\n": 0, "yellow\n": 0, "\x04": 0} {
			t.Run(name+" "+strings.TrimSpace(typed), func(t *testing.T) {
				t.Parallel()
				var changes atomic.Int64
				url := changeServer(t, &changes)
				text, status := onTerminal(
					t,
					typed,
					slices.Concat(strings.Fields(name), command.args, []string{"--url", url})...)
				if !strings.Contains(text, command.question+url+"? [y/N] ") {
					t.Errorf("the terminal shows %q, want %q", text, command.question)
				}
				if changes.Load() != want || (status == 0) != (want == 1) ||
					(want == 0) != strings.Contains(text, "nothing was changed") {
					t.Errorf("%d changes and status %d, want %d changes: %q", changes.Load(), status, want, text)
				}
			})
		}
	}
}

// onTerminal runs a command on a terminal where typed is typed at the question.
func onTerminal(t *testing.T, typed string, args ...string) (text string, status int) {
	t.Helper()
	cmd := command(t, []string{"AGIQA_ADMIN_KEY=" + testAdminKey}, args...)
	screen, err := pty.Start(cmd)
	if err != nil {
		t.Fatal(err)
	}
	defer screen.Close()
	var shown bytes.Buffer
	chunk := make([]byte, 4096)
	for asked := false; ; {
		n, err := screen.Read(chunk)
		shown.Write(chunk[:n])
		if !asked && bytes.Contains(shown.Bytes(), []byte("[y/N] ")) {
			asked = true
			if _, err := screen.WriteString(typed); err != nil {
				t.Error(err)
			}
		}
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.EIO) { // EIO: nobody has the other end any more
				t.Error(err)
			}
			break
		}
	}
	_ = cmd.Wait() // the status says it
	return shown.String(), cmd.ProcessState.ExitCode()
}

func TestAsksNothingWithoutATerminal(t *testing.T) {
	for name, command := range asking {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var changes atomic.Int64
			args := slices.Concat(strings.Fields(name), command.args, []string{"--url", changeServer(t, &changes)})
			env := []string{"AGIQA_ADMIN_KEY=" + testAdminKey}
			_, errs, status := runCommand(t, env, strings.NewReader("y\n"), args...)
			if changes.Load() != 0 || status != 1 || strings.Count(errs, "\n") != 1 ||
				!strings.HasPrefix(errs, "agiqa: give --yes to ") {
				t.Errorf("%d changes, status %d, %q", changes.Load(), status, errs)
			}
			_, errs, status = runCommand(t, env, nil, append(args, "--yes")...)
			if changes.Load() != 1 || status != 0 || strings.Contains(errs, "[y/N]") {
				t.Errorf("with --yes: %d changes, status %d, %q", changes.Load(), status, errs)
			}
		})
	}
}

// A signal ends a command that waits for an answer.
func TestSignalAtTheQuestion(t *testing.T) {
	var changes atomic.Int64
	text, status := onTerminal(t, "\x03", "experiment", "stop", "x", "--url", changeServer(t, &changes))
	if status != 1 || changes.Load() != 0 || !strings.Contains(text, "stopped by a signal") {
		t.Errorf("status %d, %d changes, %q", status, changes.Load(), text)
	}
}
