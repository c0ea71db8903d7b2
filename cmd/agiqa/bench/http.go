package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

func newHTTP(t *cli.Terminal) *cobra.Command {
	var f loadFlags
	var r requestFlags
	var stub bool
	cmd := &cobra.Command{
		Use:   "http --url URL --rate R --duration D",
		Short: "Send requests on a schedule and measure latency from when each was due",
		Long: "Sends images, or any request, to an HTTP server in an open loop: the schedule is fixed in advance, and time " +
			"spent waiting for a free connection counts as latency. Prints counts (scheduled = completed + errors + " +
			"dropped + unsent), latency percentiles, and how late the generator itself was. A 200 response with an error " +
			"for an image or a checkpoint counts as an error (image_error). A URL without a path means /v1/score. " +
			"--triton adds Triton's statistics of the run and splits the mean time of the gateway's Triton stages into " +
			"Triton's queue, its compute, and the rest: transfer.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !stub {
				return runHTTP(cmd, t, &f, &r, nil)
			}
			return withStub(cmd.Context(), load.Stub{}, func(url string) error { return runHTTP(cmd, t, &f, &r, []string{url}) })
		},
	}
	f.add(cmd)
	f.addShapes(cmd)
	f.addBehind(cmd)
	r.add(cmd)
	cmd.Flags().BoolVar(&stub, "stub", false, "measure the generator itself against a trivial server in this process")
	cmd.Flags().IntVar(&f.pid, "pid", 0, "the server's process, to measure its CPU time and memory, with its children")
	addURL(cmd)
	return cmd
}

func runHTTP(cmd *cobra.Command, t *cli.Terminal, f *loadFlags, r *requestFlags, address []string) error {
	return f.onTarget(cmd, t, r, address, func(ctx context.Context, target load.Target) (measured, error) {
		return summarise(load.Summarise)(f.measure(ctx, t, target))
	})
}

// measured is what a command reports, and the runs that it is derived from.
type measured struct {
	report textual
	labels []string // of the runs, where there are several
	runs   []load.Run
}

// summarise makes the report of a single run.
func summarise[R textual](report func(load.Run) R) func(load.Run, error) (measured, error) {
	return func(run load.Run, err error) (measured, error) {
		if err != nil {
			return measured{}, err
		}
		return measured{report: report(run), runs: []load.Run{run}}, run.Err()
	}
}

// onTarget measures the one target that is named, and reports what was
// measured even where it ended in an error.
func (f *loadFlags) onTarget(cmd *cobra.Command, t *cli.Terminal, r *requestFlags, args []string,
	measure func(context.Context, load.Target) (measured, error)) error {
	asked, err := r.aim(cmd, t, f, args)
	if err != nil {
		return err
	}
	defer asked.close()
	m := f.manifest(cmd)
	got, err := measure(cmd.Context(), asked.target)
	if len(got.runs) == 0 {
		return err
	}
	return errors.Join(f.report(cmd, t, m, got.labels, got.report, got.runs...), err)
}

// textual is a report for people.
type textual interface{ Text(w io.Writer) error }

// report prints a report, after its manifest, and leaves records and reports in
// the folder --out.
func (f *loadFlags) report(cmd *cobra.Command, t *cli.Terminal, m load.Manifest, labels []string,
	report textual, runs ...load.Run) error {
	if f.out != "" {
		if err := save(f.out, m, labels, report, runs); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	if cli.AsJSON(cmd) {
		return cli.PrintJSON(t.Out, report)
	}
	if err := m.Text(t.Out); err != nil {
		return err
	}
	return report.Text(t.Out)
}

func save(folder string, m load.Manifest, labels []string, report textual, runs []load.Run) error {
	if err := load.Save(folder, m, labels, runs...); err != nil {
		return err
	}
	var text, doc strings.Builder
	if err := m.Text(&text); err != nil {
		return err
	}
	if err := report.Text(&text); err != nil {
		return err
	}
	if err := cli.PrintJSON(&doc, report); err != nil {
		return err
	}
	for name, content := range map[string]string{"report.txt": text.String(), "report.json": doc.String()} {
		if err := os.WriteFile(filepath.Join(folder, name), []byte(content), 0o644); err != nil {
			return err
		}
	}
	measurement, err := load.Open(folder) // what is drawn is what is stored
	if err != nil {
		return err
	}
	measurement.Name = filepath.Base(folder)
	return pages(folder, measurement)
}
