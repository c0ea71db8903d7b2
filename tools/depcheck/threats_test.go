package depcheck_test

import (
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// existingTests returns the names of all tests of the project.
func existingTests(t *testing.T) map[string]bool {
	t.Helper()
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
	return there
}

var testName = regexp.MustCompile("`(Test[A-Za-z0-9]+)`")

// checkTests wants each test that a page points to, and at least so many.
func checkTests(t *testing.T, page string, least int) {
	t.Helper()
	there := existingTests(t)
	names := testName.FindAllStringSubmatch(page, -1)
	if len(names) < least {
		t.Errorf("the page names %d tests, want at least %d", len(names), least)
	}
	for _, name := range names {
		if !there[name[1]] {
			t.Errorf("there is no test %s", name[1])
		}
	}
}

// TestThreatModelNamesTests: each test that the threat model points to exists.
func TestThreatModelNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/threat-model.md")
	if err != nil {
		t.Fatal(err)
	}
	checkTests(t, string(page), 10)
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "|") && strings.HasSuffix(strings.TrimSpace(line), "| |") {
			t.Errorf("an attack without a test: %s", strings.TrimSpace(line))
		}
	}
}

// TestFaultMatrixNamesTests: the matrix has each fault once, with tests that exist.
func TestFaultMatrixNamesTests(t *testing.T) {
	page, err := os.ReadFile("../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	checkTests(t, string(page), 40)
	rows := map[string]string{} // id to the last cell
	for line := range strings.Lines(string(page)) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		id := strings.TrimSpace(cells[0])
		if !regexp.MustCompile(`^F\d\d$`).MatchString(id) {
			continue
		}
		if _, twice := rows[id]; twice || len(cells) != 5 {
			t.Errorf("row %s is there twice, or has %d cells instead of 5", id, len(cells))
		}
		rows[id] = strings.TrimSpace(cells[len(cells)-1])
	}
	for n := 1; n <= 48; n++ {
		id := fmt.Sprintf("F%02d", n)
		if _, ok := rows[id]; !ok && id != "F39" { // withdrawn
			t.Errorf("there is no row %s", id)
		}
	}
	for id, tests := range rows {
		if !strings.HasPrefix(tests, "`Test") {
			t.Errorf("row %s: tests are %q", id, tests)
		}
	}
}
