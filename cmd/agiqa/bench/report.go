package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

func newReport(t *cli.Terminal) *cobra.Command {
	var html string
	var events []string
	var window time.Duration
	cmd := &cobra.Command{
		Use:   "report DIR...",
		Short: "Report on recorded measurements side by side",
		Long: "Reads folders written by other commands with --out, checks that their counts add up, and prints a table. " +
			"--html writes a page of plots that overlay them all. --event instead reports on the requests due just " +
			"before and just after an event, over all folders.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var s load.Summary
			for _, dir := range args {
				m, err := load.Open(dir)
				if err != nil {
					return err
				}
				s.Measurements = append(s.Measurements, m)
			}
			if len(events) > 0 {
				return reportAround(cmd, t, s, events, window)
			}
			if html != "" {
				if err := writePage(html, s); err != nil {
					return fmt.Errorf("--html: %w", err)
				}
			}
			if cli.AsJSON(cmd) {
				return cli.PrintJSON(t.Out, map[string]any{"reports": s.Reports()})
			}
			return s.Text(t.Out)
		},
	}
	cli.AddJSON(cmd)
	cmd.Flags().StringVar(&html, "html", "", "file for an HTML page of plots")
	cmd.Flags().StringSliceVar(&events, "event", nil, "time of an event: 2026-01-02T03:04:05.678Z (date -u +%FT%T.%3NZ)")
	cmd.Flags().DurationVar(&window, "window", time.Second, "time before and after each --event to report on")
	return cmd
}

func reportAround(cmd *cobra.Command, t *cli.Terminal, s load.Summary, events []string, window time.Duration) error {
	var runs []load.Run
	for _, m := range s.Measurements {
		for _, one := range m.Series {
			runs = append(runs, one.Run)
		}
	}
	var times []time.Time
	for _, text := range events {
		at, err := time.Parse(time.RFC3339Nano, text)
		if err != nil {
			return fmt.Errorf("--event: %w", err)
		}
		times = append(times, at)
	}
	a, err := load.LookAround(runs, times, window)
	if err != nil {
		return fmt.Errorf("--event: %w", err)
	}
	if cli.AsJSON(cmd) {
		return cli.PrintJSON(t.Out, a)
	}
	return a.Text(t.Out)
}

func writePage(name string, s load.Summary) (err error) {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	defer func() {
		if closed := f.Close(); err == nil {
			err = closed
		}
	}()
	return s.HTML(f)
}

// pages writes the plots of a measurement beside its records.
func pages(folder string, m load.Measurement) error {
	s := load.Summary{Measurements: []load.Measurement{m}}
	if err := writePage(filepath.Join(folder, "report.html"), s); err != nil {
		return err
	}
	picture, err := load.PlotPercentiles(m.Series)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, "latency.svg"), picture, 0o644); err != nil {
		return err
	}
	for i, one := range m.Series {
		f, err := os.Create(filepath.Join(folder, fmt.Sprintf("latency-%03d.hgrm", i)))
		if err != nil {
			return err
		}
		err = load.WriteHGRM(f, one.Run)
		if closed := f.Close(); err == nil {
			err = closed
		}
		if err != nil {
			return err
		}
	}
	return nil
}
