package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/quality"
)

func newScore(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "score FILE|DIR|-...",
		Short: "Score images with a running server or an embedded one",
		Long: "Scores files, folders and standard input (-) with the server at --url. If none is running there, " +
			"starts an embedded server for this command.",
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return scoreCommand(cmd, t, args, "/v1/score")
		},
	}
	addScoring(cmd)
	cmd.Flags().String("checkpoint", "", "checkpoint to score with (default: the server's)")
	cmd.Flags().StringSlice("aspects", nil,
		"tasks to score in one pass, each by its own checkpoint: TASK or TASK=CHECKPOINT, such as quality,authenticity")
	cmd.MarkFlagsMutuallyExclusive("checkpoint", "aspects")
	return cmd
}

func newCompare(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "compare FILE|DIR|-...",
		Short: "Score images with several checkpoints, encoding each image once",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return scoreCommand(cmd, t, args, "/v1/compare")
		},
	}
	addScoring(cmd)
	cmd.Flags().StringSlice("checkpoint", nil, "checkpoints to compare (default: all of the default's task)")
	return cmd
}

func addScoring(cmd *cobra.Command) {
	cli.AddJSON(cmd)
	cmd.Flags().Int("parallel", 2*runtime.NumCPU(), "number of images to send concurrently")
	cmd.Flags().String("prompt", "", "prompt that the images were made from, for checkpoints that read prompts")
	cmd.Flags().StringSlice("include", nil, "additional fields of the JSON output: embedding, views")
	cmd.Flags().StringSlice("omit", nil, "fields to leave out: interval, distribution")
	cmd.Flags().Bool("views", false, "show the score of each view and which pixels of the image it covers")
	cli.AddServing(cmd)
}

// scoredLine is one line of JSON output.
type scoredLine struct {
	File string `json:"file"`
	*gateway.Result
	Encoder    *gateway.EncoderRef `json:"encoder,omitempty"`
	Preprocess string              `json:"preprocess,omitempty"`
	RequestID  string              `json:"request_id,omitempty"`
	TraceID    string              `json:"trace_id,omitempty"`
	TimingMS   map[string]float64  `json:"timing_ms,omitempty"`
}

type scored struct {
	answer gateway.ScoreResponse
	err    error
}

func scoreCommand(cmd *cobra.Command, t *cli.Terminal, args []string, route string) error {
	selected, err := cli.Pictures(args, t.In)
	if err != nil {
		return err
	}
	selected.Note(t)
	ask := cli.Ask{
		Checkpoints: flagList(cmd, "checkpoint"), Aspects: flagList(cmd, "aspects"),
		Include: flagList(cmd, "include"), Omit: flagList(cmd, "omit"),
	}
	if views, err := cmd.Flags().GetBool("views"); err == nil && views {
		ask.Include = append(ask.Include, "views")
	}
	if ask.Prompt, err = cmd.Flags().GetString("prompt"); err != nil {
		return err
	}
	workers, err := cmd.Flags().GetInt("parallel")
	if err != nil {
		return err
	}
	return cli.WithServer(cmd, t, func(ctx context.Context, c *cli.Client) error {
		failed := 0
		bar := t.Progress(len(selected.List), "scoring")
		cli.InOrder(selected.List, workers, func(p cli.Picture) scored {
			if ctx.Err() != nil {
				return scored{err: context.Cause(ctx)}
			}
			if err := p.Load(); err != nil {
				return scored{err: err}
			}
			answer, err := c.Score(ctx, route, p, ask)
			return scored{answer: answer, err: err}
		}, func(p cli.Picture, r scored) {
			if r.err != nil || slices.ContainsFunc(r.answer.Results, cli.Faulty) {
				failed++
			}
			bar.Clear()
			printScored(cmd, t, p, r)
			bar.Step()
		})
		bar.Done()
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case failed > 0 && len(selected.List) == 1 && len(selected.Unreadable) == 0:
			return errReported
		}
		return selected.Outcome(failed, "scored")
	})
}

// flagList reads a flag that is a text in one command and a list in another.
func flagList(cmd *cobra.Command, name string) []string {
	if list, err := cmd.Flags().GetStringSlice(name); err == nil {
		return list
	}
	if text, err := cmd.Flags().GetString(name); err == nil && text != "" {
		return []string{text}
	}
	return nil
}

func printScored(cmd *cobra.Command, t *cli.Terminal, p cli.Picture, r scored) {
	if cli.AsJSON(cmd) {
		line := scoredLine{File: p.Name}
		if r.err != nil {
			line.Result = &gateway.Result{ID: p.Name, Error: asProblem(r.err)}
		} else {
			line.Result = &r.answer.Results[0]
			line.Encoder, line.Preprocess = &r.answer.Encoder, r.answer.Preprocess
			line.RequestID, line.TraceID, line.TimingMS = r.answer.RequestID, r.answer.TraceID, r.answer.TimingMS
		}
		_ = cli.PrintJSON(t.Out, line)
		return
	}
	if r.err != nil {
		t.Note("agiqa: %s: %v", p.Name, r.err)
		return
	}
	result := r.answer.Results[0]
	switch {
	case len(result.Aspects) > 0:
		for _, task := range slices.Sorted(maps.Keys(result.Aspects)) {
			printOne(t, p, result.Aspects[task], task)
		}
	case len(result.Scores) > 0:
		for _, v := range result.Scores {
			printOne(t, p, v, v.Checkpoint.Name)
		}
	default:
		fmt.Fprintf(t.Out, "%s  %s%s\n", number(result.Measurement), p.Name, unlike(result.Measurement))
		printViews(t, result.Views)
	}
}

// printOne prints the score of one of several checkpoints, under the name of
// the checkpoint or its task.
func printOne(t *cli.Terminal, p cli.Picture, v gateway.CheckpointScore, name string) {
	if v.Error != nil {
		t.Note("agiqa: %s: checkpoint %s: %v", p.Name, v.Checkpoint.Name, v.Error)
		return
	}
	fmt.Fprintf(t.Out, "%s  %-24s  %s%s\n", number(v.Measurement), name, p.Name, unlike(v.Measurement))
	printViews(t, v.Views)
}

// printViews prints the views of a score, if the answer has them, indented
// below it.
func printViews(t *cli.Terminal, views []gateway.ViewScore) {
	for _, v := range views {
		fmt.Fprintf(t.Out, "    %8.4f  %-10s  %dx%d at %d,%d\n", v.Score, v.View, v.Box.Width, v.Box.Height, v.Box.X, v.Box.Y)
	}
}

// number writes a score, with its interval where there is one. Columns line up
// on scales that end below 1000.
func number(m gateway.Measurement) string {
	text := fmt.Sprintf("%8.4f", *m.Score)
	if i := m.Interval; i != nil {
		text += fmt.Sprintf("  %6.2f..%-6.2f", i.Low, i.High)
	}
	return text
}

// unlike marks a picture that doesn't resemble the training data.
func unlike(m gateway.Measurement) string {
	if m.Distribution != nil && m.Distribution.Outside {
		return "  (unlike the training data)"
	}
	return ""
}

// asProblem gives an error that did not come from the server the form of one
// that did.
func asProblem(err error) *gateway.Problem {
	if p, ok := errors.AsType[*gateway.Problem](err); ok {
		return p
	}
	if e, ok := errors.AsType[*quality.Error](err); ok {
		return &gateway.Problem{
			Type: "urn:agiqa:problem:" + string(e.Kind), Title: e.Kind.Title(), Status: gateway.StatusOf(e.Kind),
			Detail: e.Detail, Code: e.Kind,
		}
	}
	return &gateway.Problem{
		Type: "about:blank", Title: "The image could not be sent", Detail: err.Error(), Code: quality.KindBadRequest,
	}
}
