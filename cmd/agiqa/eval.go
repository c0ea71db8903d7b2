package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

func newEval(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "eval --csv FILE --images DIR",
		Short: "Score a data set and report how well the scores agree with human opinion",
		Long: "Scores the images listed in a CSV file through a server and prints SRCC, KRCC, PLCC and RMSE with " +
			"bootstrap intervals, as agiqa-train evaluate does. " +
			"The columns are image (or name) and mos (or score, or mos_quality), case-insensitive, " +
			"separated by commas, semicolons or tabs. An image is found by its path below --images, or by its name alone, " +
			"with or without the suffix. Scores are saved to --out as they arrive, with the checkpoint, the preprocess id " +
			"and the SHA-256 of the image, so an interrupted run resumes where it stopped and never uses the score of another " +
			"image. If images can't be scored, the command lists them, computes the figures from the others, " +
			"and exits with status 1.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o, err := evalOptionsOf(cmd)
			if err != nil {
				return err
			}
			e := evaluator{evalOptions: o, cmd: cmd, t: t}
			if e.dataset, err = readDataset(o.csv, o.columns); err != nil {
				return err
			}
			if e.folder, err = openImageFolder(o.images); err != nil {
				return err
			}
			return cli.WithServer(cmd, t, e.evaluate)
		},
	}
	cli.AddJSON(cmd)
	defaults := evaluation.DefaultBootstrap()
	cmd.Flags().String("csv", "", "data set: a CSV file of images and their mean opinion scores")
	cmd.Flags().String("images", "", "folder of the images")
	cmd.Flags().
		String("out", "", "scores, as CSV (default: beside the data set, named after the checkpoint and --preprocess)")
	cmd.Flags().String("svg", "", "also write a scatter plot of scores against opinions to this file")
	cmd.Flags().String("image-column", "", "column of the image (default: image or name)")
	cmd.Flags().String("mos-column", "", "column of the opinion (default: mos, score or mos_quality)")
	cmd.Flags().String("checkpoint", "", "checkpoint to score with (default: the server's)")
	cmd.Flags().Int("parallel", 2*runtime.NumCPU(), "number of images to send concurrently")
	cmd.Flags().Int("replicates", defaults.Replicates, "number of bootstrap replicates; 0: no intervals")
	cmd.Flags().Float64("confidence", defaults.Confidence, "confidence level of the intervals")
	cmd.Flags().Uint64("seed", defaults.Seed, "seed of the bootstrap")
	cli.AddServing(cmd)
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
		faults = append(faults, errors.New("--csv and --images are required"))
	}
	return o, errors.Join(faults...)
}

// evaluator is one run of agiqa eval.
type evaluator struct {
	evalOptions
	cmd     *cobra.Command
	t       *cli.Terminal
	dataset []opinion
	folder  *imageFolder
}

// evalReport is the report, and the images that it lacks.
type evalReport struct {
	evaluation.Report
	Unscored []string `json:"unscored,omitempty"`
}

// evaluate scores what has no score yet and reports on all that has one.
func (e *evaluator) evaluate(ctx context.Context, c *cli.Client) error {
	by, err := findCheckpoint(ctx, c, e.checkpoint)
	if err != nil {
		return err
	}
	mode := c.Mode
	key := scoreKey{checkpoint: by.Digest.String()}
	if key.preprocess, err = preprocessID(ctx, c, mode, by.Recipe); err != nil {
		return err
	}
	if e.out == "" {
		name := by.Name
		if mode != "" {
			name += "." + mode
		}
		e.out = strings.TrimSuffix(e.csv, filepath.Ext(e.csv)) + "." + name + ".scores.csv"
	}
	book, err := openScores(e.out, key)
	if err != nil {
		return err
	}
	rows, unscored, err := e.score(ctx, c, by, book)
	if err := errors.Join(err, book.close()); err != nil {
		return err
	}
	if len(rows) == 0 {
		return errors.New("no image could be scored")
	}
	if err := book.replace(rows); err != nil {
		return err
	}
	return e.report(rows, unscored)
}

func (e *evaluator) report(rows []scoreRow, unscored []string) error {
	var scores, mos []float64
	for _, row := range rows {
		scores, mos = append(scores, row.score), append(mos, row.mos)
	}
	report, err := evaluation.Evaluate(scores, mos, e.bootstrap)
	if err != nil {
		return err
	}
	if e.svg != "" {
		picture, err := scatter(scores, mos, report)
		if err != nil {
			return err
		}
		if err := os.WriteFile(e.svg, picture, 0o644); err != nil {
			return err
		}
	}
	if cli.AsJSON(e.cmd) {
		err = cli.PrintJSON(e.t.Out, evalReport{report, unscored})
	} else {
		_, err = fmt.Fprint(e.t.Out, report.Table())
		e.t.Note("scores: %s", e.out)
	}
	if err == nil && len(unscored) > 0 {
		err = fmt.Errorf(
			"%d of %d images could not be scored; the figures are of the other %d, and the same command tries again",
			len(unscored),
			len(e.dataset),
			len(rows),
		)
	}
	return err
}

// findCheckpoint resolves the checkpoint that will score: a name, or the default.
func findCheckpoint(ctx context.Context, c *cli.Client, name string) (gateway.CheckpointView, error) {
	var view gateway.CheckpointView
	if name == "" {
		var list struct {
			Default string `json:"default"`
		}
		if err := c.Get(ctx, "/v1/checkpoints", &list); err != nil {
			return view, err
		}
		if name = list.Default; name == "" {
			return view, errors.New("the server has no default checkpoint: give --checkpoint")
		}
	}
	return view, c.Get(ctx, "/v1/checkpoints/"+cli.PathSegment(name), &view)
}

// preprocessID is the server's name for how images become pixels in mode, by a
// recipe.
func preprocessID(ctx context.Context, c *cli.Client, mode string, recipe quality.Recipe) (string, error) {
	var pixel bytes.Buffer
	if err := png.Encode(&pixel, image.NewGray(image.Rect(0, 0, 1, 1))); err != nil {
		return "", err
	}
	query := url.Values{}
	if recipe != quality.Pillow12 {
		query.Set("view", quality.View{}.By(recipe).String())
	}
	if mode != "" {
		query.Set("preprocess", mode)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+"/v1/preprocess?"+query.Encode(), &pixel)
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "image/png")
	_, header, err := c.Send(req)
	if err != nil {
		return "", err
	}
	id := header.Get("X-Preprocess")
	if id == "" {
		return "", fmt.Errorf("%s does not report how it preprocesses images", c.Base)
	}
	return id, nil
}

// scoredImage is what became of an image of the data set.
type scoredImage struct {
	scoreRow
	known bool // from an earlier run
	err   error
}

// score scores every image of the data set, from the book where that has the
// score of the same bytes, and writes each new score down as it comes. Images
// that cannot be scored are named.
func (e *evaluator) score(
	ctx context.Context,
	c *cli.Client,
	by gateway.CheckpointView,
	book *scoreBook,
) (rows []scoreRow, unscored []string, err error) {
	list, faults, opinions := make([]cli.Picture, len(e.dataset)), map[string]error{}, map[string]opinion{}
	for i, row := range e.dataset {
		opinions[row.image] = row
		file, err := e.folder.find(row.image)
		if err != nil {
			faults[row.image] = err
		}
		list[i] = cli.Picture{Name: row.image, Path: file}
	}
	for _, err := range e.folder.walk.Unreadable {
		e.t.Note("agiqa: %v", err)
	}
	known := 0
	bar := e.t.Progress(len(list), "scoring")
	cli.InOrder(list, e.parallel, func(p cli.Picture) scoredImage {
		if err := cmp.Or(context.Cause(ctx), faults[p.Name]); err != nil {
			return scoredImage{err: err}
		}
		return scoreOpinion(ctx, c, p, by, book)
	}, func(p cli.Picture, s scoredImage) {
		s.opinion = opinions[p.Name]
		switch {
		case s.err != nil && ctx.Err() == nil:
			bar.Clear()
			e.t.Note("agiqa: %s: %v", p.Name, s.err)
			unscored = append(unscored, p.Name)
		case s.err == nil:
			rows = append(rows, s.scoreRow)
			if s.known {
				known++
			} else if err == nil {
				err = book.add(s.scoreRow)
			}
		}
		bar.Step()
	})
	bar.Done()
	if ctx.Err() != nil {
		err = errors.Join(
			err,
			fmt.Errorf(
				"%w; the scores so far are in %s, and the same command resumes there",
				context.Cause(ctx),
				e.out,
			),
		)
	}
	if known > 0 && err == nil {
		e.t.Note("agiqa: %d of %d scores are from an earlier run, in %s", known, len(list), e.out)
	}
	return rows, unscored, err
}

// scoreOpinion scores one image unless the book has its score.
func scoreOpinion(
	ctx context.Context,
	c *cli.Client,
	p cli.Picture,
	by gateway.CheckpointView,
	book *scoreBook,
) (s scoredImage) {
	if s.err = p.Load(); s.err != nil {
		return s
	}
	s.sha256 = quality.DigestOf(p.Data).Hex()
	if s.scoreRow.score, s.known = book.known[s.sha256]; s.known {
		return s
	}
	answer, err := c.Score(ctx, "/v1/score", p, cli.Ask{
		Checkpoints: []string{by.Name}, Omit: []string{"interval", "distribution"},
	})
	switch {
	case err != nil:
		s.err = err
	case answer.Results[0].Error != nil:
		s.err = answer.Results[0].Error
	case answer.Results[0].Checkpoint.Digest != by.Digest:
		s.err = errors.New("the checkpoint changed while the data set was being scored; start again")
	case answer.Preprocess != book.key.preprocess:
		s.err = errors.New("the server's preprocessing changed while the data set was being scored; start again")
	default:
		s.scoreRow.score = float64(*answer.Results[0].Score)
	}
	return s
}
