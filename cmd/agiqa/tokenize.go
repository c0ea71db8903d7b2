package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

func newTokenize(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "tokenize TEXT...|-",
		Short: "Print the CLIP token ids of a text",
		Long: "Prints 77 token ids for each text: start, text, end, zero padding. - reads texts from standard input, one " +
			"per line.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			truncate, err := cmd.Flags().GetBool("truncate")
			if err != nil {
				return err
			}
			tokenizer, err := clip.New()
			if err != nil {
				return err
			}
			each := func(text string) error {
				ids, _, err := tokenizer.Tokenize(text, clip.Options{Truncate: truncate})
				if err != nil {
					return fmt.Errorf("%.40q: %w", text, err)
				}
				if cli.AsJSON(cmd) {
					return cli.PrintJSON(t.Out, ids)
				}
				_, err = fmt.Fprintln(t.Out, strings.Trim(fmt.Sprint(ids), "[]"))
				return err
			}
			return eachText(t, args, each)
		},
	}
	cli.AddJSON(cmd)
	cmd.Flags().Bool("truncate", false, "truncate a text that is too long instead of failing")
	return cmd
}

func eachText(t *cli.Terminal, args []string, f func(text string) error) error {
	for _, arg := range args {
		if arg != "-" {
			if err := f(arg); err != nil {
				return err
			}
			continue
		}
		lines := bufio.NewScanner(t.In)
		lines.Buffer(nil, clip.MaxTextBytes+1)
		for lines.Scan() {
			if err := f(lines.Text()); err != nil {
				return err
			}
		}
		if err := lines.Err(); err != nil {
			return fmt.Errorf("standard input: %w", err)
		}
	}
	return nil
}
