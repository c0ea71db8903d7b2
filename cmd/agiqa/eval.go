package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

func newEval(t *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eval --csv FILE --images DIR",
		Short: "Score a data set and say how well the scores agree with people",
		Long: "Scores the images that a CSV names, through a server, and prints SRCC, KRCC, PLCC and RMSE with bootstrap intervals: the figures of agiqa-train evaluate. " +
			"The columns are image (or name) and mos (or score, or mos_quality). Scores are kept in --out as they come, so that an interrupted run goes on where it stopped.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := evalOptionsOf(cmd)
			if err != nil {
				return err
			}
			return withServer(cmd, t, func(ctx context.Context, c *client) error {
				return evaluateDataset(ctx, cmd, t, c, o)
			})
		},
	}
	addJSON(cmd)
	defaults := evaluation.DefaultBootstrap()
	cmd.Flags().String("csv", "", "data set: a CSV that names images and their mean opinion scores")
	cmd.Flags().String("images", "", "folder of the images")
	cmd.Flags().String("out", "", "scores, as CSV (default: beside the data set, named after the checkpoint)")
	cmd.Flags().String("svg", "", "also draw the scores against the opinions")
	cmd.Flags().String("image-column", "", "column of the image (default: image or name)")
	cmd.Flags().String("mos-column", "", "column of the opinion (default: mos, score or mos_quality)")
	cmd.Flags().String("checkpoint", "", "checkpoint that scores (default: the server's)")
	cmd.Flags().Int("parallel", 2*runtime.NumCPU(), "images sent at once")
	cmd.Flags().Int("replicates", defaults.Replicates, "of the bootstrap; 0: no intervals")
	cmd.Flags().Float64("confidence", defaults.Confidence, "of the intervals")
	cmd.Flags().Uint64("seed", defaults.Seed, "of the bootstrap")
	config.AddFlags(cmd.Flags(), serverGroups...)
	return cmd
}

type evalOptions struct {
	csv, images, out, svg, checkpoint string
	columns                           columns
	parallel                          int
	bootstrap                         evaluation.Bootstrap
}

func evalOptionsOf(cmd *cobra.Command) (evalOptions, error) {
	var o evalOptions
	var faults []error
	text := func(name string) string {
		v, err := cmd.Flags().GetString(name)
		faults = append(faults, err)
		return v
	}
	o.csv, o.images, o.out, o.svg = text("csv"), text("images"), text("out"), text("svg")
	o.checkpoint, o.columns = text("checkpoint"), columns{image: text("image-column"), mos: text("mos-column")}
	var err error
	o.parallel, err = cmd.Flags().GetInt("parallel")
	faults = append(faults, err)
	o.bootstrap.Replicates, err = cmd.Flags().GetInt("replicates")
	faults = append(faults, err)
	o.bootstrap.Confidence, err = cmd.Flags().GetFloat64("confidence")
	faults = append(faults, err)
	o.bootstrap.Seed, err = cmd.Flags().GetUint64("seed")
	faults = append(faults, err)
	o.bootstrap.Workers = runtime.NumCPU()
	if o.csv == "" || o.images == "" {
		faults = append(faults, errors.New("--csv and --images are needed"))
	}
	return o, errors.Join(faults...)
}

// evaluateDataset scores what has no score yet, then reports on all.
func evaluateDataset(ctx context.Context, cmd *cobra.Command, t *terminal, c *client, o evalOptions) error {
	dataset, err := readDataset(o.csv, o.columns)
	if err != nil {
		return err
	}
	judge, err := c.judge(ctx, o.checkpoint)
	if err != nil {
		return err
	}
	if o.out == "" {
		o.out = strings.TrimSuffix(o.csv, filepath.Ext(o.csv)) + "." + judge.Name + ".scores.csv"
	}
	book, err := openScores(o.out, judge.Digest.String())
	if err != nil {
		return err
	}
	err = scoreDataset(ctx, t, c, o, dataset, judge, book)
	if err := errors.Join(err, book.close()); err != nil {
		return err
	}
	report, scores, mos, err := book.report(dataset, o.bootstrap)
	if err != nil {
		return err
	}
	if o.svg != "" {
		if err := os.WriteFile(o.svg, scatter(scores, mos, report), 0o644); err != nil {
			return err
		}
	}
	if asJSON(cmd) {
		return printJSON(t.out, report)
	}
	_, err = fmt.Fprint(t.out, report.Table())
	t.note("scores: %s", o.out)
	return err
}

// judge resolves the checkpoint that will score: a name, or the default.
func (c *client) judge(ctx context.Context, name string) (gateway.CheckpointView, error) {
	var view gateway.CheckpointView
	if name == "" {
		var list struct {
			Default string `json:"default"`
		}
		if err := c.get(ctx, "/v1/checkpoints", &list); err != nil {
			return view, err
		}
		if name = list.Default; name == "" {
			return view, errors.New("the server has no default checkpoint: give --checkpoint")
		}
	}
	return view, c.get(ctx, "/v1/checkpoints/"+pathSegment(name), &view)
}

// scoreDataset sends every image that the book does not hold, and writes each
// score down as it comes. Faults are told and counted; what was scored stays.
func scoreDataset(ctx context.Context, t *terminal, c *client, o evalOptions, dataset []opinion, judge gateway.CheckpointView, book *scoreBook) error {
	var missing []picture
	opinions := map[string]opinion{}
	for _, row := range dataset {
		opinions[row.image] = row
		if _, ok := book.scores[row.image]; !ok {
			missing = append(missing, picture{name: row.image, path: filepath.Join(o.images, row.image)})
		}
	}
	if known := len(dataset) - len(missing); known > 0 && len(missing) > 0 {
		t.note("%d of %d images are scored already in %s", known, len(dataset), o.out)
	}
	failed := 0
	var writing error
	bar := t.progress(len(missing), "scoring")
	inOrder(missing, o.parallel, func(p picture) scored {
		if ctx.Err() != nil {
			return scored{err: context.Cause(ctx)}
		}
		if err := p.load(); err != nil {
			return scored{err: err}
		}
		answer, err := c.score(ctx, "/v1/score", p, []string{judge.Name}, nil, "")
		if err == nil && answer.Results[0].Checkpoint.Digest != judge.Digest {
			err = errors.New("the checkpoint changed while the data set was being scored; start again")
		}
		return scored{answer: answer, err: err}
	}, func(p picture, r scored) {
		switch {
		case r.err != nil && ctx.Err() == nil:
			bar.clear()
			t.note("agiqa: %s: %v", p.name, r.err)
			failed++
		case r.err == nil && writing == nil:
			writing = book.add(opinions[p.name], *r.answer.Results[0].Score)
		}
		bar.step()
	})
	bar.done()
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("%w; the scores so far are in %s, and the same command goes on from there", context.Cause(ctx), o.out)
	case failed > 0:
		return errors.Join(writing, fmt.Errorf("%d of %d images could not be scored; the same command tries them again", failed, len(missing)))
	}
	return writing
}
