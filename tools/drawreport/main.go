// Command drawreport writes the example report of an experiment that never was: a
// page and a sheet of pictures.
//
//	go run ./tools/drawreport docs/examples
//
// With -log it writes the records of the default log instead, for the script that
// computes the goldens of experiment/analysis with SciPy.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/analysis"
	"github.com/agiqa/agiqa/experiment/analysis/synthetic"
	"github.com/agiqa/agiqa/experiment/report"
)

func main() {
	log := flag.String("log", "", "write the records of the default log to this file")
	flag.Parse()
	var err error
	switch {
	case *log != "":
		err = records(*log)
	case flag.NArg() == 1:
		err = draw(context.Background(), flag.Arg(0))
	default:
		err = fmt.Errorf("name the folder to write to")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "drawreport:", err)
		os.Exit(1)
	}
}

func records(path string) error {
	log := synthetic.New(synthetic.DefaultOptions())
	raw, err := json.Marshal(map[string]any{"Exposures": log.Exposures, "Feedback": log.Feedback})
	if err != nil {
		return err
	}
	return os.WriteFile(path, raw, 0o600)
}

func draw(ctx context.Context, folder string) error {
	o := synthetic.DefaultOptions()
	o.Images, o.Labelled, o.Pairs, o.Rankings = 2000, 800, 400, 60
	log := synthetic.New(o)
	live, err := analysis.ReadAt(ctx, log.Store(), log.Experiment, analysis.Log{}, analysis.DefaultLimits())
	if err != nil {
		return err
	}
	replayed, err := analysis.ReplayDecision(ctx, log.Store(), log.Experiment, live.Decide(),
		live.Log(), analysis.DefaultLimits())
	if err != nil {
		return err
	}
	options := analysis.DefaultOptions()
	options.Checks = analysis.Checks{Replay: &replayed, Guards: []analysis.Guard{
		{Kind: experiment.GuardErrors, Arm: "treatment", Value: 0, Limit: 0.01, Action: experiment.ActRollback, OK: true},
		{Kind: experiment.GuardDrift, Arm: "treatment", Value: 0.04, Limit: 0.25, Action: experiment.ActHold, OK: true},
	}}
	r, err := analysis.Analyse(ctx, live, log.End, options)
	if err != nil {
		return err
	}
	page, err := report.HTML(ctx, r)
	if err != nil {
		return err
	}
	sheet, err := report.PNG(r)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	for name, data := range map[string][]byte{"experiment-report.html": page, "experiment-report.png": sheet} {
		if err := os.WriteFile(filepath.Join(folder, name), data, 0o644); err != nil {
			return err
		}
	}
	return nil
}
