package depcheck_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestThreatModelNamesTests: each test that the threat model points to exists.
func TestThreatModelNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	list := exec.CommandContext(t.Context(), "git", "grep", "-hoE", "^func Test[A-Za-z0-9]+", "--", "*_test.go")
	list.Dir = "../.."
	out, err := list.Output()
	if err != nil {
		t.Fatalf("git grep: %v", err)
	}
	there := map[string]bool{}
	for line := range strings.Lines(string(out)) {
		there[strings.TrimPrefix(strings.TrimSpace(line), "func ")] = true
	}
	names := regexp.MustCompile("`(Test[A-Za-z0-9]+)`").FindAllStringSubmatch(string(page), -1)
	if len(names) < 10 {
		t.Errorf("the page names %d tests, want at least one for each attack", len(names))
	}
	for _, name := range names {
		if !there[name[1]] {
			t.Errorf("there is no test %s", name[1])
		}
	}
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "|") && strings.HasSuffix(strings.TrimSpace(line), "| |") {
			t.Errorf("an attack without a test: %s", strings.TrimSpace(line))
		}
	}
}
