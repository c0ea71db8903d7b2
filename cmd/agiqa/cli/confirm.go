package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
)

// AddYes adds the flag --yes of a command that no other command undoes. Such a
// command calls Confirm first.
func AddYes(cmd *cobra.Command) {
	cmd.Flags().Bool("yes", false, "don't ask for confirmation; required without a terminal")
}

// Confirm asks whether to do what, such as "stop experiment x", on the server at
// url. It returns nil for yes, which --yes says in advance, and an error for
// everything else.
func Confirm(ctx context.Context, cmd *cobra.Command, t *Terminal, what, url string) error {
	if yes, err := cmd.Flags().GetBool("yes"); yes || err != nil {
		return err
	}
	if !t.asks {
		return fmt.Errorf("give --yes to %s: there is no terminal to ask on", what)
	}
	fmt.Fprintf(t.Err, "%s on %s? [y/N] ", strings.ToUpper(what[:1])+what[1:], url)
	answer := make(chan string, 1)
	go func() { // a signal must not wait for the answer
		line, _ := bufio.NewReader(t.In).ReadString('\n') // nothing is no
		answer <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case line := <-answer:
		if !slices.Contains([]string{"y", "yes"}, line) {
			return errors.New("nothing was changed")
		}
		return nil
	case <-ctx.Done():
		fmt.Fprintln(t.Err)
		return context.Cause(ctx)
	}
}
