package embedded_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/internal/proctest"
)

func TestPreflight(t *testing.T) {
	// scene is a machine on which all is well, for a test to spoil.
	type scene struct {
		fakeMachine
		cfg              embedded.Config
		platform, shm    string
		tmp              string
		glibc            string
		glibcErr, noBash error
	}
	remove := func(t *testing.T, path ...string) {
		t.Helper()
		if err := os.RemoveAll(filepath.Join(path...)); err != nil {
			t.Fatal(err)
		}
	}
	tests := []struct {
		name   string
		spoil  func(*testing.T, *scene)
		fault  string // the finding that is not OK
		detail string // part of it
		fix    string // part of it
	}{
		{name: "all is well"},
		{
			name:  "other processor",
			spoil: func(_ *testing.T, s *scene) { s.platform = "linux/arm64" },
			fault: "platform", detail: "linux/arm64", fix: "agiqa serve",
		},
		{
			name:  "old glibc",
			spoil: func(_ *testing.T, s *scene) { s.glibc = "2.31" },
			fault: "glibc", detail: "2.31 is older than 2.35", fix: "Debian 12",
		},
		{
			name:  "glibc compared as a number",
			spoil: func(_ *testing.T, s *scene) { s.glibc = "2.4" },
			fault: "glibc", detail: "2.4 is older", fix: "Debian 12",
		},
		{
			name:  "no glibc",
			spoil: func(_ *testing.T, s *scene) { s.glibcErr = errors.New("musl") },
			fault: "glibc", detail: "musl", fix: "Debian 12",
		},
		{
			name:  "glibc of no sense",
			spoil: func(_ *testing.T, s *scene) { s.glibc = "none" },
			fault: "glibc", detail: `"none" is not a version`, fix: "Debian 12",
		},
		{
			name:  "no bash",
			spoil: func(_ *testing.T, s *scene) { s.noBash = errors.New("not found") },
			fault: "bash", detail: "not found", fix: "apt-get install bash",
		},
		{
			name:  "no environment",
			spoil: func(t *testing.T, s *scene) { remove(t, s.venv) },
			fault: "python", detail: "no Python environment", fix: "make venv",
		},
		{
			name: "Python was removed",
			spoil: func(t *testing.T, s *scene) {
				write(t, filepath.Join(s.venv, "bin", "python"), "#!/bin/sh\necho 'no such module' >&2; exit 1\n")
			},
			fault: "python", detail: "no such module", fix: "make venv",
		},
		{
			name:  "Python answers nonsense",
			spoil: func(t *testing.T, s *scene) { write(t, filepath.Join(s.venv, "answer.json"), "hello") },
			fault: "python", detail: `"hello"`, fix: "make venv",
		},
		{
			name:  "Python without a GIL",
			spoil: func(t *testing.T, s *scene) { s.answer(t, map[string]any{"free_threaded": true}) },
			fault: "python", detail: "without a GIL", fix: "PYTHON=python3.12",
		},
		{
			name: "a package is missing",
			spoil: func(t *testing.T, s *scene) {
				remove(t, s.sitePackages, "numpy-1.26.4.dist-info")
				write(t, filepath.Join(s.sitePackages, "numpy-2.2.6.dist-info", "RECORD"), "")
			},
			fault: "packages", detail: "lacks numpy==1.26.4", fix: "make venv",
		},
		{
			name:  "no shared libpython",
			spoil: func(t *testing.T, s *scene) { remove(t, s.libs) },
			fault: "libpython", detail: "libpython3.11.so.1.0", fix: "apt-get install libpython3.11",
		},
		{
			name: "no tritonserver",
			spoil: func(t *testing.T, s *scene) {
				remove(t, s.sitePackages, "pytriton", "tritonserver", "bin", "tritonserver")
			},
			fault: "tritonserver", detail: "no executable", fix: "make venv",
		},
		{
			name: "no stub for this Python",
			spoil: func(t *testing.T, s *scene) {
				remove(t, s.sitePackages, "pytriton", "tritonserver", "python_backend_stubs", "3.11")
			},
			fault: "python stub", detail: "no Python backend for Python 3.11", fix: "PYTHON=python3.12",
		},
		{
			name:  "no model repository",
			spoil: func(t *testing.T, s *scene) { remove(t, s.repository) },
			fault: "models", detail: "no such file", fix: "git restore",
		},
		{
			name:  "no model in it",
			spoil: func(t *testing.T, s *scene) { remove(t, s.repository, "echo") },
			fault: "models", detail: "no model with a configs/embedded.pbtxt", fix: "git restore",
		},
		{
			name:  "a wanted model is missing",
			spoil: func(_ *testing.T, s *scene) { s.cfg.Models = []string{"echo", "other"} },
			fault: "models", detail: "model other is in 0 of the repositories", fix: "git restore",
		},
		{
			name: "a wanted model lacks the configuration",
			spoil: func(t *testing.T, s *scene) {
				s.cfg.Models = []string{"echo"}
				remove(t, s.repository, "echo", "configs", "embedded.pbtxt")
			},
			fault: "models", detail: "embedded.pbtxt", fix: "git restore",
		},
		{
			name:  "a model without a version",
			spoil: func(t *testing.T, s *scene) { remove(t, s.repository, "echo", "1") },
			fault: "models", detail: "no version folder", fix: "git restore",
		},
		{
			name: "a model in two repositories",
			spoil: func(t *testing.T, s *scene) {
				other := t.TempDir()
				write(t, filepath.Join(other, "echo", "configs", "embedded.pbtxt"), "")
				s.cfg.ModelRepositories = append(s.cfg.ModelRepositories, other)
			},
			fault: "models", detail: "model echo is in 2 of the repositories", fix: "git restore",
		},
		{
			name:  "no shared memory",
			spoil: func(t *testing.T, s *scene) { s.shm = filepath.Join(t.TempDir(), "none") },
			fault: "shared memory", detail: "no such file", fix: "mount",
		},
		{
			name:  "little shared memory",
			spoil: func(_ *testing.T, s *scene) { s.cfg.ShmBytes = 1 << 50 },
			fault: "shared memory", detail: "MiB free, want", fix: "--shm-size",
		},
		{
			name:  "the data folder is a file",
			spoil: func(t *testing.T, s *scene) { s.cfg.LogFile = filepath.Join(s.venv, "answer.json", "log") },
			fault: "data folder", detail: "cannot be written", fix: "--data-dir",
		},
		{
			name: "no folder that Triton can work in",
			spoil: func(t *testing.T, s *scene) {
				s.cfg.RunDir = filepath.Join(t.TempDir(), "a b")
				s.cfg.Env = []string{"XDG_RUNTIME_DIR=/no/such"}
				s.tmp = proctest.ShortDir(t)
				if err := os.Chmod(s.tmp, 0o777); err != nil {
					t.Fatal(err)
				}
			},
			fault: "run folder", detail: "open to other users", fix: "XDG_RUNTIME_DIR",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := newFakeMachine(t)
			s := scene{
				fakeMachine: m, cfg: m.config(t), platform: "linux/amd64",
				shm: t.TempDir(), tmp: proctest.ShortDir(t), glibc: "2.36",
			}
			s.cfg.Env = nil
			if tt.spoil != nil {
				tt.spoil(t, &s)
			}
			machine := embedded.MachineOf(s.platform, s.shm, s.tmp,
				func() (string, error) { return s.glibc, s.glibcErr },
				func() (string, error) { return "/bin/bash", s.noBash })
			var faults []embedded.Finding
			for _, f := range embedded.PreflightOn(t.Context(), s.cfg, machine) {
				if !f.OK {
					faults = append(faults, f)
				}
				if strings.Contains(f.String(), "\n") {
					t.Errorf("%q is more than one line", f)
				}
				if f.OK != (f.Fix == "") {
					t.Errorf("%+v: a fix is for what is not OK, and only that", f)
				}
			}
			if tt.fault == "" {
				if len(faults) != 0 {
					t.Errorf("faults %v, want none", faults)
				}
				return
			}
			if len(faults) != 1 {
				t.Fatalf("faults %v, want one of %s", faults, tt.fault)
			}
			f := faults[0]
			if f.Name != tt.fault || !strings.Contains(f.Detail, tt.detail) || !strings.Contains(f.Fix, tt.fix) {
				t.Errorf("finding %q\nwant %s with %q and fix %q", f, tt.fault, tt.detail, tt.fix)
			}
		})
	}
}

func TestPreflightNamesTheRunFolder(t *testing.T) {
	tmp, runtime, file := proctest.ShortDir(t), proctest.ShortDir(t), filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	in := func(name string) string { return filepath.Join(proctest.ShortDir(t), name, "run") }
	tests := []struct{ name, runDir, runtime, want string }{
		{"plain", in("a-b_c.d+e@f"), runtime, ""},
		{"space", in("a b"), runtime, runtime},
		{"command", in("$(touch x)"), runtime, runtime},
		{"backquote", in("`x`"), runtime, runtime},
		{"quotes", in(`'"`), runtime, runtime},
		{"separators", in(";&|"), runtime, runtime},
		{"line", in("a\nb"), runtime, runtime},
		{"letter beyond ASCII", in("é"), runtime, runtime},
		{"divides PATH", in("a:b"), runtime, runtime},
		{"not UTF-8", in("\xe9"), runtime, runtime},
		{"a file", filepath.Join(file, "run"), runtime, runtime},
		{"too long for a socket", in(strings.Repeat("x", 100)), runtime, runtime},
		{"no XDG_RUNTIME_DIR", in("a b"), "", tmp},
		{"XDG_RUNTIME_DIR with a space", in("a b"), filepath.Dir(in("c d")), tmp},
		{"relative XDG_RUNTIME_DIR", in("a b"), "run", tmp},
		{"no such XDG_RUNTIME_DIR", in("a b"), filepath.Join(tmp, "none"), tmp},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := newFakeMachine(t).config(t)
			cfg.RunDir, cfg.Env = tt.runDir, []string{"XDG_RUNTIME_DIR=" + tt.runtime}
			machine := embedded.MachineOf("linux/amd64", t.TempDir(), tmp,
				func() (string, error) { return "2.36", nil },
				func() (string, error) { return "/bin/bash", nil })
			want := tt.want
			if want == "" {
				want = tt.runDir
			}
			for _, f := range embedded.PreflightOn(t.Context(), cfg, machine) {
				if !f.OK || strings.Contains(f.String(), "\n") {
					t.Errorf("finding %q, want OK in one line", f)
				}
				if f.Name == "run folder" && f.Detail != want && !strings.HasPrefix(f.Detail, want+", because ") {
					t.Errorf("finding %q, want %s", f, want)
				}
			}
		})
	}
}

func TestPreflightReportsAllFaultsAtOnce(t *testing.T) {
	m := newFakeMachine(t)
	cfg := m.config(t)
	cfg.Venv = filepath.Join(t.TempDir(), "none")
	cfg.ModelRepositories = []string{filepath.Join(t.TempDir(), "none")}
	var faults []string
	for _, f := range embedded.Preflight(t.Context(), cfg) {
		if !f.OK {
			faults = append(faults, f.Name)
		}
	}
	if want := []string{"python", "models"}; !slices.Equal(faults, want) {
		t.Errorf("faults %q, want %q", faults, want)
	}
	cfg.StopGrace, cfg.LogFile = 0, ""
	findings := embedded.Preflight(t.Context(), cfg)
	if len(findings) != 1 || !strings.Contains(findings[0].Detail, "StopGrace") ||
		!strings.Contains(findings[0].Detail, "LogFile") {
		t.Errorf("findings %q, want one that names StopGrace and LogFile", findings)
	}
}

func TestValidateNamesEveryFault(t *testing.T) {
	if err := newFakeMachine(t).config(t).Validate(); err != nil {
		t.Fatalf("a good one: %v", err)
	}
	bad := embedded.Config{
		ConfigName: "../x", Models: []string{"a/b"}, OTLPTracesURL: "localhost:4318",
	}
	err := bad.Validate()
	if err == nil {
		t.Fatal("no error")
	}
	for _, field := range []string{
		"Venv", "ModelRepositories", "ConfigName", "Models", "RunDir", "LogFile", "LogMaxBytes", "ShmBytes",
		"OTLPTracesURL", "StartTimeout", "StopGrace", "Restart.Initial", "Restart.Window",
	} {
		if !strings.Contains(err.Error(), field) {
			t.Errorf("error does not name %s:\n%v", field, err)
		}
	}
}
