package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/proctest"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

func testSettings(t *testing.T) config.Settings {
	t.Helper()
	s := config.Default()
	s.Checkpoints = filepath.Join(repository, "demo", "checkpoints")
	s.ModelRepository = filepath.Join(repository, "model_repository")
	return s
}

func jsonLines(t *testing.T, text string) []map[string]any {
	t.Helper()
	var out []map[string]any
	for line := range strings.Lines(text) {
		var v map[string]any
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		out = append(out, v)
	}
	return out
}

// TestScoreCommandStartsItsOwnServer scores a folder where no server runs, and
// then against one that does.
func TestScoreCommandStartsItsOwnServer(t *testing.T) {
	needsTriton(t)
	env := []string{"AGIQA_DATA_DIR=" + t.TempDir()}
	out, errs, status := runCommand(t, env, nil, "score", "examples", "--json")
	if status != 0 {
		t.Fatalf("exit status %d:\n%s", status, errs)
	}
	alone := jsonLines(t, out)
	if len(alone) != 3 || alone[0]["file"] != "examples/harbour-blurred.jpg" {
		t.Fatalf("lines %v, want the three pictures in order of name", alone)
	}

	p := startUp(t, nil)
	env = append(env, "AGIQA_URL="+p.url)
	out, errs, status = runCommand(t, env, strings.NewReader(string(example(t, "tiles.png"))), "score", "-",
		"examples/harbour.jpg", "--json")
	if status != 0 {
		t.Fatalf("exit status %d:\n%s", status, errs)
	}
	served := jsonLines(t, out)
	if served[0]["score"] != alone[2]["score"] || served[1]["score"] != alone[1]["score"] {
		t.Errorf("scores %v and %v by the server, %v and %v alone", served[0]["score"], served[1]["score"],
			alone[2]["score"], alone[1]["score"])
	}
	if strings.Contains(errs, "\r") {
		t.Errorf("a progress bar in a pipe: %q", errs)
	}

	t.Run("--embedded starts another one", func(t *testing.T) {
		out, errs, status := runCommand(t, env, nil, "score", "examples/tiles.png", "--json", "--embedded",
			"--queue=7", "--preprocess=fast")
		if status != 0 || !strings.Contains(out, "fast") || strings.Contains(errs, "no server at") {
			t.Errorf("status %d, %s%s", status, out, errs)
		}
	})
	t.Run("a fault is told and counts", func(t *testing.T) {
		bad := filepath.Join(t.TempDir(), "bad.png")
		if err := os.WriteFile(bad, []byte("not a picture"), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, status := runCommand(t, env, nil, "score", bad, "examples/tiles.png", "--json")
		lines := jsonLines(t, out)
		if status != 1 || len(lines) != 2 ||
			lines[0]["error"].(map[string]any)["code"] != string(quality.KindUnsupportedImageFormat) ||
			lines[1]["error"] != nil {
			t.Errorf("status %d, lines %v, stderr %s", status, lines, errs)
		}
	})
	t.Run("checkpoint list and show", func(t *testing.T) {
		out, errs, status := runCommand(t, env, nil, "checkpoint", "list", "--json")
		if status != 0 || jsonLines(t, out)[0]["default"] != "demo" {
			t.Errorf("status %d, %s%s", status, out, errs)
		}
		out, errs, status = runCommand(t, env, nil, "checkpoint", "show", "demo")
		if status != 0 || !strings.Contains(out, demoCheckpoint(t).Digest.String()) {
			t.Errorf("status %d, %s%s", status, out, errs)
		}
		if _, errs, status = runCommand(t, env, nil, "checkpoint", "show", "../x"); status != 1 ||
			!strings.Contains(errs, "checkpoint_not_found") {
			t.Errorf("status %d, %s", status, errs)
		}
	})
	t.Run("compare", func(t *testing.T) {
		out, errs, status := runCommand(t, env, nil, "compare", "examples/tiles.png")
		if status != 0 || !strings.Contains(out, " demo ") || !strings.Contains(out, " demo-shared ") {
			t.Errorf("status %d, %s%s", status, out, errs)
		}
	})
	t.Run("the port is taken", func(t *testing.T) {
		address := strings.TrimPrefix(p.url, "http://")
		_, errs, status := runCommand(t, env, nil, "up", "--listen", address)
		if status != 1 || !strings.Contains(errs, "another program uses "+address) ||
			!strings.Contains(errs, "AGIQA_LISTEN") {
			t.Errorf("status %d, %s", status, errs)
		}
	})
	t.Run("healthcheck", func(t *testing.T) {
		if _, errs, status := runCommand(t, env, nil, "healthcheck"); status != 0 {
			t.Errorf("status %d, %s", status, errs)
		}
		if _, _, status := runCommand(t, []string{"AGIQA_URL=http://" + proctest.Loopback(proctest.FreePort(t))}, nil,
			"healthcheck"); status != 1 {
			t.Errorf("status %d without a server, want 1", status)
		}
	})
}

func TestPreprocessCommand(t *testing.T) {
	dir := t.TempDir()
	out, errs, status := runCommand(t, nil, nil, "preprocess", "examples", "--out", dir, "--json")
	if status != 0 {
		t.Fatalf("status %d, %s", status, errs)
	}
	if lines := jsonLines(t, out); len(lines) != 3 {
		t.Fatalf("%d lines", len(lines))
	}
	npy, err := os.ReadFile(filepath.Join(dir, "tiles.npy"))
	if err != nil {
		t.Fatal(err)
	}
	header := "{'descr': '|u1', 'fortran_order': False, 'shape': (224, 224, 3), }"
	if len(npy)%64 != quality.PixelsLen%64 || string(npy[:8]) != "\x93NUMPY\x01\x00" ||
		!strings.Contains(string(npy[:128]), header) {
		t.Errorf("%d bytes that begin with %q", len(npy), npy[:80])
	}
	file := filepath.Join(dir, "one.png")
	if _, errs, status := runCommand(t, nil, nil, "preprocess", "examples/tiles.png", "--out", file); status != 0 {
		t.Fatalf("status %d, %s", status, errs)
	}
	again := filepath.Join(dir, "again.npy")
	if _, errs, status := runCommand(t, nil, nil, "preprocess", file, "--out", again); status != 0 {
		t.Fatalf("status %d, %s", status, errs)
	}
	if second, err := os.ReadFile(again); err != nil || string(second) != string(npy) {
		t.Errorf("the PNG of the pixels gives other pixels (%v)", err)
	}
	if _, errs, status := runCommand(t, nil, nil, "preprocess", "examples", "--out", file); status != 1 ||
		!strings.Contains(errs, "--out must be a folder") {
		t.Errorf("status %d, %s", status, errs)
	}
}

// TestPreprocessOverwritesNothing: two pictures of one name and two formats
// would have the same file of pixels.
func TestPreprocessOverwritesNothing(t *testing.T) {
	in, out := t.TempDir(), t.TempDir()
	for name, data := range map[string][]byte{"a.png": testimages.PNG(8, 8), "a.jpg": testimages.JPEG(8, 8)} {
		if err := os.WriteFile(filepath.Join(in, name), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, errs, status := runCommand(t, nil, nil, "preprocess", in, "--out", out)
	if written, err := os.ReadDir(out); err != nil || len(written) != 0 {
		t.Errorf("wrote %v (%v), want nothing", written, err)
	}
	if status != 1 || !strings.Contains(errs, "would both become") {
		t.Errorf("status %d, %q", status, errs)
	}
}

func TestTokenizeCommand(t *testing.T) {
	out, errs, status := runCommand(t, nil, strings.NewReader("a photo of a cat\nhello\n"), "tokenize", "-", "--json")
	if status != 0 {
		t.Fatalf("status %d, %s", status, errs)
	}
	var first []int
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if err := json.Unmarshal([]byte(lines[0]), &first); err != nil {
		t.Fatal(err)
	}
	// CLIP's ids for this text, as its own tokenizer gives them.
	want := []int{49406, 320, 1125, 539, 320, 2368, 49407, 0}
	if len(lines) != 2 || len(first) != 77 || fmt.Sprint(first[:8]) != fmt.Sprint(want) {
		t.Errorf("%d lines, the first %v, want it to begin with %v", len(lines), first, want)
	}
	if _, errs, status := runCommand(t, nil, nil, "tokenize", strings.Repeat("word ", 100)); status != 1 ||
		!strings.Contains(errs, "prompt_too_long") {
		t.Errorf("status %d, %s", status, errs)
	}
}

func TestDoctorCommand(t *testing.T) {
	needsTriton(t)
	out, errs, status := runCommand(t, []string{"AGIQA_LISTEN=127.0.0.1:0"}, nil, "doctor", "--json")
	report := jsonLines(t, out)
	if status != 0 || report[0]["ok"] != true {
		t.Errorf("status %d: %s%s", status, out, errs)
	}
	out, errs, status = runCommand(t, nil, nil, "doctor", "--listen", "127.0.0.1:0", "--venv", t.TempDir(),
		"--checkpoints", t.TempDir(), "--redis-url", "redis://127.0.0.1:1/0")
	if status != 1 || !strings.Contains(errs, "checks failed") {
		t.Errorf("status %d: %s", status, errs)
	}
	for _, want := range []string{"FAULT checkpoints", "FAULT redis", "fix: "} {
		if !strings.Contains(out, want) {
			t.Errorf("report lacks %q:\n%s", want, out)
		}
	}
}

// TestDoctorReportsPrerequisites: what make run needs is a fault, what only the
// tests need is not.
func TestDoctorReportsPrerequisites(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal(err)
	}
	checkout, bin := t.TempDir(), t.TempDir()
	script := filepath.Join(checkout, "internal", "prerequisites", "prerequisites.sh")
	if err := os.MkdirAll(filepath.Dir(script), 0o755); err != nil {
		t.Fatal(err)
	}
	// Only its presence counts; the program carries the list itself.
	if err := os.WriteFile(script, []byte("exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(bash, filepath.Join(bin, "bash")); err != nil {
		t.Fatal(err)
	}
	doctor := func() []byte {
		t.Helper()
		cmd := command(t, []string{"PATH=" + bin, "GO=", "PYTHON="}, "doctor", "--json")
		cmd.Dir = checkout
		out, err := cmd.Output()
		if cmd.ProcessState.ExitCode() != 1 {
			t.Fatalf("%v: %s", err, out)
		}
		return out
	}
	if out := doctor(); !bytes.Contains(out, []byte("no checkout of agiqa")) ||
		bytes.Contains(out, []byte("make not found")) {
		t.Errorf("in a release's folder, which has nothing to make: %s", out)
	}
	if err := os.WriteFile(filepath.Join(checkout, "Makefile"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	out := doctor()
	report := jsonLines(t, string(out))
	found := map[string]map[string]any{}
	for _, f := range report[0]["findings"].([]any) {
		finding := f.(map[string]any)
		found[finding["name"].(string)] = finding
	}
	if f := found["make"]; f["ok"] != false || f["detail"] != "make not found" || f["fix"] != "make deps" {
		t.Errorf("make: %v", f)
	}
	if f := found["redis"]; f["ok"] != true || f["detail"] != "redis-server not found; only make test needs it" ||
		f["fix"] != "make deps" {
		t.Errorf("redis: %v", f)
	}
}

func TestBadSettingsAreAllReported(t *testing.T) {
	_, errs, status := runCommand(t, []string{"AGIQA_LOG_LEVEL=loud", "AGIQA_QUEUE=many"}, nil,
		"serve", "--listen", "nowhere")
	if status != 1 {
		t.Errorf("status %d", status)
	}
	for _, want := range []string{"log-level", "AGIQA_QUEUE", "listen"} {
		if !strings.Contains(errs, want) {
			t.Errorf("error lacks %q: %s", want, errs)
		}
	}
}

func TestServeNeedsTriton(t *testing.T) {
	if _, errs, status := runCommand(t, nil, nil, "serve", "--listen", "127.0.0.1:0"); status != 1 ||
		!strings.Contains(errs, "AGIQA_TRITON") {
		t.Errorf("status %d: %s", status, errs)
	}
}
