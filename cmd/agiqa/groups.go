package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/quality"
)

// checkNames makes every command that has others refuse a name that none of them
// has. Without it cobra prints the help and reports success, so that a script
// with a typo goes on as if it had stopped an experiment.
func checkNames(root *cobra.Command) {
	root.InitDefaultCompletionCmd()
	root.InitDefaultHelpCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "help" {
			cmd.Run, cmd.RunE = nil, help
		}
	}
	checkGroup(root)
}

func checkGroup(cmd *cobra.Command) {
	if !cmd.HasSubCommands() {
		return
	}
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return nil
		}
		return unknownName(cmd, args[0])
	}
	if !cmd.Runnable() {
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	// The name is at fault, not the flags behind it, which belong to the command
	// that was meant.
	cmd.Flags().SetInterspersed(false)
	for _, sub := range cmd.Commands() {
		checkGroup(sub)
	}
}

// help shows the help of the command that args name.
func help(cmd *cobra.Command, args []string) error {
	of, rest, err := cmd.Root().Find(args)
	if err != nil {
		return err
	}
	if len(rest) > 0 {
		return unknownName(of, rest[0])
	}
	of.InitDefaultHelpFlag()
	of.InitDefaultVersionFlag()
	return of.Help()
}

// unknownName says which commands there are, in one line.
func unknownName(cmd *cobra.Command, name string) error {
	var known []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() || sub.Name() == "help" {
			known = append(known, sub.Name())
		}
	}
	if len(known) == 0 {
		return fmt.Errorf("unknown command %s: %s has no commands", quality.Quote(name), cmd.CommandPath())
	}
	cmd.SuggestionsMinimumDistance = 2
	guess := ""
	if similar := cmd.SuggestionsFor(name); len(similar) > 0 {
		guess = " (did you mean " + similar[0] + "?)"
	}
	return fmt.Errorf("unknown command %s for %s%s; available: %s", quality.Quote(name), cmd.CommandPath(), guess,
		strings.Join(known, ", "))
}
