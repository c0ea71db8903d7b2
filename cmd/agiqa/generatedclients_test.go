package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestGeneratedClients generates a Python and a TypeScript client from the
// document that a server serves, and scores, compares, fails and runs an
// experiment with each against that server. Their programs check the type of
// every answer.
func TestGeneratedClients(t *testing.T) {
	needsTriton(t)
	for _, program := range []string{"node", "npm"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Fatalf("%s not found; install it with: make deps", program)
		}
	}
	if _, err := os.Stat(filepath.Join(repository, ".cache", "generated-clients", "node", "stamp")); err != nil {
		t.Fatal("the generators of clients are not installed; install them with: make generated-clients")
	}
	data := t.TempDir()
	p := startUp(t, []string{"AGIQA_DATA_DIR=" + data})
	key, err := os.ReadFile(filepath.Join(data, "admin.key"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
	defer cancel()
	check := exec.CommandContext(ctx, "tools/generated-clients/check.sh", p.url, strings.TrimSpace(string(key)))
	check.Dir = repository
	check.Env = append(os.Environ(), "TMPDIR="+t.TempDir())
	check.WaitDelay = 5 * time.Second
	out, err := check.CombinedOutput()
	if err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	lines := strings.Split(string(out), "\n")
	for _, client := range []string{"Python", "TypeScript"} {
		if !slices.Contains(lines, "the generated "+client+" client: every answer has its documented type") {
			t.Errorf("the %s client was not checked:\n%s", client, out)
		}
	}
	if strings.Contains(string(out), "WARN") {
		t.Errorf("a generator warned:\n%s", out)
	}
}
