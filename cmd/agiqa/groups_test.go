package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

// TestUnknownCommands: a name that no command has is an error in one line, which
// names those that there are, at every place where a command has others.
func TestUnknownCommands(t *testing.T) {
	t.Parallel()
	var groups []*cobra.Command
	var visit func(cmd *cobra.Command)
	visit = func(cmd *cobra.Command) {
		if cmd.HasSubCommands() {
			groups = append(groups, cmd)
		}
		for _, sub := range cmd.Commands() {
			visit(sub)
		}
	}
	visit(newRoot(&cli.Terminal{}))
	if len(groups) < 9 {
		t.Fatalf("%d commands have others", len(groups))
	}
	for _, group := range groups {
		path := strings.Fields(group.CommandPath())[1:]
		for _, args := range [][]string{
			append(append([]string{}, path...), "no-such-thing"),
			append(append([]string{}, path...), "no-such-thing", "x", "--url", "http://127.0.0.1:1", "--json"),
			append(append([]string{"help"}, path...), "no-such-thing"),
		} {
			var out, errs bytes.Buffer
			err := execute(t.Context(), &cli.Terminal{Out: &out, Err: &errs}, args)
			if err == nil || out.Len()+errs.Len() > 0 {
				t.Errorf("%q: error %v, output %q %q", args, err, out.String(), errs.String())
				continue
			}
			text := err.Error()
			if strings.Contains(text, "\n") || !strings.Contains(text, `unknown command "no-such-thing"`) {
				t.Errorf("%q: %s", args, text)
			}
			for _, sub := range group.Commands() {
				if sub.IsAvailableCommand() && !strings.Contains(text, sub.Name()) {
					t.Errorf("%q: %q does not name %s", args, text, sub.Name())
				}
			}
		}
		var out bytes.Buffer // the name alone still shows the help
		if err := execute(t.Context(), &cli.Terminal{Out: &out, Err: &out}, path); err != nil ||
			!strings.Contains(out.String(),
				"Available Commands:") {
			t.Errorf("%q: error %v, %s", path, err, out.String())
		}
	}
}

func TestUnknownCommandsEndWithAStatus(t *testing.T) {
	for _, args := range [][]string{
		{"experiment", "strat", "x"}, {"experiment", "pormote"}, {"completion", "tcsh"}, {"scroe"}, {"help", "scroe"},
	} {
		out, errs, status := runCommand(t, nil, nil, args...)
		if status == 0 || out != "" || strings.Count(errs, "\n") != 1 || !strings.Contains(errs, "unknown command") {
			t.Errorf("%q: status %d, %q, %q", args, status, out, errs)
		}
	}
	if _, errs, _ := runCommand(t, nil, nil, "experiment", "strat", "x"); !strings.Contains(errs, "did you mean start?") {
		t.Error(errs)
	}
}
