package bench

import (
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/preprocess"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/server"
)

func newPreprocess(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "preprocess [--images DIR] [--against pillow]",
		Short: "Measure decode, resize and both, per format and size",
		Long: "Measures preprocessing of generated images, or of those in a folder, on one core. With --against pillow, " +
			"alternates with a Python process that does the same work with Pillow and NumPy. Prints CPU time, ratios " +
			"with intervals, and allocations, and fails if pixels differ.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := preprocessOptionsOf(cmd)
			if err != nil {
				return err
			}
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			return runPreprocess(cmd, t, s, o)
		},
	}
	cli.AddJSON(cmd)
	plan := preprocess.DefaultPlan()
	cmd.Flags().String("images", "", "folder of images (default: generated images)")
	cmd.Flags().IntSlice("sizes", []int{512, 1024, 2048}, "side lengths of the generated images, in pixels")
	cmd.Flags().String("against", "", "pillow: compare with Pillow and NumPy")
	cmd.Flags().String("python", "python3", "Python interpreter with Pillow and NumPy")
	cmd.Flags().String("out", "", "folder for results.json, results.txt and results.svg")
	cmd.Flags().Int("rounds", plan.Rounds, "measured runs of each step")
	cmd.Flags().Int("cpu", preprocess.LastProcessor(), "CPU to run on; -1: any")
	config.AddFlags(cmd.Flags(), "Images", "Program")
	return cmd
}

type preprocessOptions struct {
	images, python, out string
	against             bool
	sizes               []int
	cpu                 int
	plan                preprocess.Plan
}

func preprocessOptionsOf(cmd *cobra.Command) (preprocessOptions, error) {
	o := preprocessOptions{plan: preprocess.DefaultPlan()}
	f := cmd.Flags()
	var against string
	var errs [7]error
	o.images, errs[0] = f.GetString("images")
	o.python, errs[1] = f.GetString("python")
	o.out, errs[2] = f.GetString("out")
	against, errs[3] = f.GetString("against")
	o.sizes, errs[4] = f.GetIntSlice("sizes")
	o.cpu, errs[5] = f.GetInt("cpu")
	o.plan.Rounds, errs[6] = f.GetInt("rounds")
	err := errors.Join(errs[:]...)
	if o.against = against == "pillow"; against != "" && !o.against {
		err = errors.Join(err, fmt.Errorf("--against is %q, must be pillow", against))
	}
	if o.plan.Rounds < 1 || o.plan.Rounds > 10_000 {
		err = errors.Join(err, fmt.Errorf("--rounds is %d, must be 1 to 10000", o.plan.Rounds))
	}
	for _, side := range o.sizes {
		if side < 1 || side > 5000 {
			err = errors.Join(err, fmt.Errorf("--sizes has %d, must be 1 to 5000", side))
		}
	}
	return o, err
}

func runPreprocess(cmd *cobra.Command, t *cli.Terminal, s config.Settings, o preprocessOptions) (err error) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	manifest := preprocess.NewManifest(time.Now(), commandLine(cmd), buildCommit(), o.plan)
	manifest.PinnedTo = o.cpu
	if o.cpu >= 0 {
		unpin, err := preprocess.Pin(o.cpu)
		if err != nil {
			return err
		}
		defer unpin()
	}
	ours, err := contestants(s, manifest.Ours)
	if err != nil {
		return err
	}
	var rival preprocess.Contestant
	var pillow *preprocess.Pillow
	if o.against {
		if pillow, err = preprocess.StartPillow(cmd.Context(), o.python, o.cpu); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, pillow.Close()) }()
		rival, manifest.Rival = pillow, pillow.Versions
	}
	cases, err := preprocessCases(t, o, pillow)
	if err != nil {
		return err
	}
	report := preprocess.Report{Manifest: manifest}
	bar := t.Progress(len(cases), "measuring")
	for _, c := range cases {
		result, err := preprocess.Measure(cmd.Context(), c, ours, rival, o.plan)
		if err != nil {
			bar.Done()
			return err
		}
		report.Results = append(report.Results, result)
		bar.Step()
	}
	bar.Done()
	return printPreprocess(cmd, t, o, report)
}

// contestants gives our ways to prepare, exact and fast, and notes their ids.
func contestants(s config.Settings, ids map[string]string) ([]preprocess.Contestant, error) {
	p, err := server.NewPreparer(s)
	if err != nil {
		return nil, err
	}
	ids["go"], ids["fast"] = string(p.ID(quality.Exact, quality.Pillow12)), string(p.ID(quality.Fast, quality.Pillow12))
	return []preprocess.Contestant{
		preprocess.NewOurs("go", p, quality.Exact), preprocess.NewOurs("fast", p, quality.Fast),
	}, nil
}

func preprocessCases(t *cli.Terminal, o preprocessOptions, pillow *preprocess.Pillow) ([]preprocess.Case, error) {
	if o.images == "" {
		bar := t.Progress(len(o.sizes)*preprocess.DrawnFiles(), "drawing")
		defer bar.Done()
		return preprocess.Draw(o.sizes, pillow, bar.Step)
	}
	selected, err := cli.OnDisk(o.images)
	if err != nil {
		return nil, err
	}
	selected.Note(t)
	var cases []preprocess.Case
	for _, p := range selected.List {
		if err := p.Load(); err != nil {
			return nil, err
		}
		h, err := imageprep.Sniff(p.Data)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Name, err)
		}
		name, err := filepath.Rel(o.images, p.Path)
		if err != nil || name == "." {
			name = filepath.Base(p.Path)
		}
		cases = append(cases, preprocess.Case{Name: name, Format: string(h.Format), Width: h.Width,
			Height: h.Height, Data: p.Data})
	}
	return cases, nil
}

func printPreprocess(cmd *cobra.Command, t *cli.Terminal, o preprocessOptions, r preprocess.Report) error {
	if o.out != "" {
		if err := r.Write(o.out); err != nil {
			return fmt.Errorf("--out: %w", err)
		}
	}
	var err error
	if cli.AsJSON(cmd) {
		err = cli.PrintJSON(t.Out, r)
	} else {
		err = r.Text(t.Out)
	}
	if unequal := r.Unequal(); len(unequal) > 0 {
		err = errors.Join(err, fmt.Errorf("pixels differ: %s", strings.Join(unequal, ", ")))
	}
	return err
}
