package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestDraftCommands: the commands for drafts do what they say, against a server.
func TestDraftCommands(t *testing.T) {
	t.Parallel()
	url, _ := experimentServer(t)
	env := []string{"AGIQA_URL=" + url, "AGIQA_ADMIN_KEY=" + testAdminKey}
	run := func(want string, args ...string) {
		t.Helper()
		out, errs, status := runCommand(t, env, nil, append([]string{"experiment"}, args...)...)
		ok := !strings.HasPrefix(want, "agiqa: ")
		if ok != (status == 0) || !strings.Contains(out+errs, want) {
			t.Errorf("%q: status %d, %s%s, want %q", args, status, out, errs, want)
		}
	}
	definition := filepath.Join(t.TempDir(), "d.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(definition, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("id: d\narms: [{checkpoint: a}, {id: new, checkpoint: b}]\n")
	run("d is draft (phase 1, revision 1)", "create", definition)
	write("id: d\narms: [{checkpoint: a}, {id: twin, checkpoint: a}]\nmax_duration: 3d\n")
	run("A/A test: both arms are the same checkpoint", "edit", "d", definition)
	run("agiqa: conflict: experiment d asks for 100 % of all units and gets none", "start", "d")
	write("id: d\narms: [{checkpoint: a}, {id: new, checkpoint: b}]\nalpha: 0\nhorizon: 1.5\n")
	run(`agiqa: experiment_invalid: horizon: line 4: "1.5" where a whole number belongs; alpha: is 0, must be above 0`, "create", definition)
	run("e is draft (phase 1, revision 1)", "clone", "x", "e")
	run("e is draft, in the archive", "archive", "e")
	out, _, _ := runCommand(t, env, nil, "experiment", "list")
	if strings.Contains(out, "e is draft") || !strings.Contains(out, "d is draft") {
		t.Errorf("the list: %s", out)
	}
	run("e is draft, in the archive", "list", "--archived")
	run("e is draft (phase 1, revision 3)", "restore", "e")
	run("agiqa: give --yes to delete experiment e", "delete", "e")
	run("e, a draft, is deleted", "delete", "e", "--yes")
	run("agiqa: not_found", "status", "e")
	run("agiqa: conflict: experiment x is running; it can't delete", "delete", "x", "--yes")
}
