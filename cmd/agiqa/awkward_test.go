package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestUpInAwkwardFolders runs everything in folders whose paths break a shell, a
// URL, or a decoder of ASCII or UTF-8.
func TestUpInAwkwardFolders(t *testing.T) {
	needsTriton(t)
	root, runtime := t.TempDir(), t.TempDir()
	pwned := filepath.Join(root, "pwned")
	project := filepath.Join(root, "a b é\xe9:,%41?#[ $(touch $PWNED) `touch $PWNED` 'q\"';touch $PWNED& z")
	for _, dir := range []string{"model_repository", "demo/checkpoints", "examples"} {
		if err := os.CopyFS(filepath.Join(project, dir), os.DirFS(filepath.Join(repository, dir))); err != nil {
			t.Fatal(err)
		}
	}
	env := []string{
		"AGIQA_DATA_DIR=" + filepath.Join(project, "data"), "AGIQA_CHECKPOINTS=" +
			filepath.Join(project, "demo", "checkpoints"),
		"AGIQA_MODEL_REPOSITORY=" + filepath.Join(project, "model_repository"),
		"XDG_RUNTIME_DIR=" + runtime, "PWNED=" + pwned, "LC_ALL=C",
	}

	out, _, _ := runCommand(t, env, nil, "doctor")
	if !strings.Contains(out, runtime+", because ") {
		t.Errorf("doctor doesn't name the run folder:\n%s", out)
	}
	p := startUp(t, env)
	scoreOf(t, p, example(t, "harbour.jpg"))
	if entries, err := os.ReadDir(runtime); err != nil || len(entries) != 1 {
		t.Errorf("run folders %v (%v), want one", entries, err)
	}
	p.stop(t, syscall.SIGTERM)
	out, errs, status := runCommand(t, env, nil, "score", filepath.Join(project, "examples", "harbour.jpg"))
	if status != 0 {
		t.Errorf("score ends with %d:\n%s%s", status, out, errs)
	}

	if _, err := os.Stat(pwned); err == nil {
		t.Error("a path was executed")
	}
	if entries, err := os.ReadDir(runtime); err != nil || len(entries) > 0 {
		t.Errorf("left: %v, %v", entries, err)
	}
	if entries, err := os.ReadDir(root); err != nil || len(entries) != 1 {
		t.Errorf("beside the project: %v, %v", entries, err)
	}
	if left := sharedMemory(t, p.cmd.Process.Pid); len(left) > 0 {
		t.Errorf("shared memory left: %v", left)
	}
}
