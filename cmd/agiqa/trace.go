package main

import (
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
	"github.com/agiqa/agiqa/telemetry/tracelog"
)

func newTrace(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "trace", Short: "Show the traces recorded by agiqa up --trace",
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }, Args: cobra.NoArgs}
	cmd.AddCommand(newTraceShow(t), newTraceList(t))
	return cmd
}

var traceID = regexp.MustCompile(`^[0-9a-f]{4,32}$`)

func newTraceShow(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show ID",
		Short: "Show one trace as a tree with a timeline",
		Long:  "ID is the trace_id of a response or a log line, or a prefix of it.",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			attributes, err := cmd.Flags().GetBool("attributes")
			if err != nil {
				return err
			}
			if !traceID.MatchString(args[0]) {
				return fmt.Errorf("%q is no trace id: 4 to 32 lower-case hexadecimal digits", args[0])
			}
			spans, err := readTraces(s, args[0])
			if err != nil {
				return err
			}
			var ids []string
			for _, span := range spans {
				if !slices.Contains(ids, span.Trace) {
					ids = append(ids, span.Trace)
				}
			}
			switch {
			case len(ids) == 0:
				return fmt.Errorf("no trace begins with %s; agiqa trace list shows those that are kept, and spans take up to a "+
					"second (Triton's five) to arrive", args[0])
			case len(ids) > 1:
				return fmt.Errorf("%d traces begin with %s, such as %s and %s: give a longer prefix",
					len(ids), args[0], ids[0], ids[1])
			case cli.AsJSON(cmd):
				return cli.PrintJSON(t.Out, map[string]any{"trace_id": ids[0], "spans": spans})
			}
			return tracelog.Draw(t.Out, spans, tracelog.Options{Width: screenWidth(t), Attributes: attributes})
		},
	}
	cli.AddJSON(cmd)
	cmd.Flags().Bool("attributes", false, "print each span's attributes below it")
	config.AddFlags(cmd.Flags(), "Program")
	return cmd
}

func newTraceList(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the most recent traced requests", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			limit, err := cmd.Flags().GetInt("limit")
			if err != nil {
				return err
			}
			spans, err := readTraces(s, "")
			if err != nil {
				return err
			}
			all, err := cmd.Flags().GetBool("all")
			if err != nil {
				return err
			}
			sums := tracelog.Summaries(spans)
			if !all {
				sums = slices.DeleteFunc(sums, func(s tracelog.Summary) bool { return !s.Request })
			}
			sums = sums[:min(len(sums), max(limit, 0))]
			if cli.AsJSON(cmd) {
				for _, sum := range sums {
					if err := cli.PrintJSON(t.Out, sum); err != nil {
						return err
					}
				}
				return nil
			}
			w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
			fmt.Fprintln(w, "TRACE\tSTARTED\tMS\tSPANS\tSTATUS\tREQUEST")
			for _, sum := range sums {
				fmt.Fprintf(w, "%s\t%s\t%.2f\t%d\t%s\t%s\n", sum.Trace, sum.Start.UTC().Format("15:04:05.000"),
					float64(sum.Duration)/float64(time.Millisecond), sum.Spans, sum.Status, sum.Name)
			}
			return w.Flush()
		},
	}
	cli.AddJSON(cmd)
	cmd.Flags().Int("limit", 20, "maximum number of traces")
	cmd.Flags().Bool("all", false, "include traces of the server's own work, such as probes of Triton")
	config.AddFlags(cmd.Flags(), "Program")
	return cmd
}

func readTraces(s config.Settings, prefix string) ([]tracelog.Span, error) {
	spans, err := tracelog.Read(server.TraceFolder(s), prefix)
	if errors.Is(err, tracelog.ErrNoTraces) {
		return nil, fmt.Errorf("%w: start the server with --trace (AGIQA_TRACE=true), or name its --data-dir", err)
	}
	return spans, err
}

// screenWidth is the width of the terminal that out is, or 120.
func screenWidth(t *cli.Terminal) int {
	if f, ok := t.Out.(*os.File); ok {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil {
			return width
		}
	}
	return 120
}
