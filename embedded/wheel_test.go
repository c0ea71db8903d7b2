package embedded_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/internal/proctest"
)

// fakeMachine is a wheel without Triton and a repository with one model.
type fakeMachine struct{ venv, sitePackages, libs, repository string }

func newFakeMachine(t *testing.T) fakeMachine {
	t.Helper()
	return newFakeMachineIn(t, proctest.ShortDir(t))
}

func newFakeMachineIn(t *testing.T, root string) fakeMachine {
	t.Helper()
	m := fakeMachine{
		venv:         filepath.Join(root, "venv"),
		sitePackages: filepath.Join(root, "venv", "lib", "python3.11", "site-packages"),
		libs:         filepath.Join(strings.ToValidUTF8(root, "_"), "lib"), // the answer is JSON
		repository:   filepath.Join(root, "repository"),
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	m.answer(t, map[string]any{})
	write(t, filepath.Join(m.venv, "bin", "python"), "#!/bin/sh\nexec cat \"${0%/*}/../answer.json\"\n")
	wheel := filepath.Join(m.sitePackages, "pytriton", "tritonserver")
	// bash, for its exec -a: the name by which leftovers are recognised.
	write(t, filepath.Join(wheel, "bin", "tritonserver"), "#!/bin/bash\nexec -a tritonserver "+self+" __server \"$@\"\n")
	write(t, filepath.Join(wheel, "backends", "python", "libtriton_python.so"), "library")
	write(t, filepath.Join(wheel, "python_backend_stubs", "3.11", "triton_python_backend_stub"), "stub")
	write(t, filepath.Join(m.libs, "libpython3.11.so.1.0"), "library")
	packages, err := embedded.DistInfoNames(embedded.Requirements, "3.11")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range packages {
		write(t, filepath.Join(m.sitePackages, p, "RECORD"), "")
	}
	write(t, filepath.Join(m.repository, "echo", "configs", "embedded.pbtxt"), "")
	write(t, filepath.Join(m.repository, "echo", "1", "model.py"), "")
	return m
}

// answer sets what the environment's Python says of itself.
func (m fakeMachine) answer(t *testing.T, changes map[string]any) {
	t.Helper()
	says := map[string]any{
		"version": "3.11", "site_packages": "lib/python3.11/site-packages", "free_threaded": false,
		"shared_name": "libpython3.11.so.1.0", "shared_dirs": []string{filepath.Join(m.libs, "other"), m.libs},
	}
	for key, value := range changes {
		says[key] = value
	}
	b, err := json.Marshal(says)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(m.venv, "answer.json"), string(b))
}

// control sets how the fake server misbehaves.
func (m fakeMachine) control(t *testing.T, words ...string) {
	t.Helper()
	write(t, filepath.Join(m.repository, "control"), strings.Join(words, " "))
}

func (m fakeMachine) config(t *testing.T) embedded.Config {
	t.Helper()
	cfg := embedded.DefaultConfig()
	cfg.Venv = m.venv
	cfg.ModelRepositories = []string{m.repository}
	state := proctest.ShortDir(t)
	cfg.RunDir = filepath.Join(state, "run")
	cfg.LogFile = filepath.Join(state, "triton.log")
	cfg.StopGrace = 5 * time.Second
	cfg.StartTimeout = 20 * time.Second
	cfg.Restart = embedded.RestartPolicy{Initial: time.Millisecond, Max: time.Millisecond, Limit: 3, Window: time.Hour}
	cfg.Env = os.Environ()
	return cfg
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o755); err != nil {
		t.Fatal(fmt.Errorf("write: %w", err))
	}
}
