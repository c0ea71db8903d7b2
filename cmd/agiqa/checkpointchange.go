package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/quality"
)

func newCheckpointImport(t *cli.Terminal) *cobra.Command {
	var o checkpoint.OriginalOptions
	cmd := &cobra.Command{
		Use:   "import BUNDLE|DIR --name NAME",
		Short: "Import a checkpoint into the running server",
		Long: "Sends a bundle (manifest.json and weights.safetensors) to the server. The server validates it, loads it " +
			"into every Triton and replays its golden scores before it can be selected. DIR may also be the output of " +
			"the original CLIP-AGIQA training (prompt_learner and regression): this command converts it for the " +
			"server's encoder, and flags supply what its files don't contain.",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.OnAdmin(cmd, t,
				func(ctx context.Context, c *cli.Client) error { return importCheckpoint(ctx, cmd, t, c, args[0], o) })
		},
	}
	f := cmd.Flags()
	f.StringVar(&o.Name, "name", "", "name on the server (default: the bundle's own)")
	f.Bool("activate", false, "make it the default")
	f.StringVar((*string)(&o.Position), "position", string(clip.End),
		"position of the class name in the prompts: end, middle or front (original folders)")
	f.Float64Var(&o.Score.Min, "score-min", 0, "lower end of the score's scale (original folders)")
	f.Float64Var(&o.Score.Max, "score-max", 5,
		"upper end of the score's scale: 5 for AGIQA-3K, 100 for AIGCIQA2023 (original folders)")
	f.StringVar(&o.Score.Unit, "score-unit", "MOS", "unit of the score (original folders)")
	f.BoolVar(&o.Score.Clamp, "clamp", false, "cut scores beyond the scale to it (original folders)")
	f.StringVar((*string)(&o.Task), "task", string(quality.TaskQuality),
		"what the scores measure: quality, authenticity, ... (original folders)")
	f.StringSliceVar(&o.Views, "views", quality.Views{}.Strings(),
		"squares of a picture whose mean score is its score, such as 448/r0c0,448/r0c1 (original folders)")
	f.StringVar(&o.Recipe, "recipe", quality.Pillow12.String(),
		"how training resized pictures: pillow12-bicubic-224, or pillow13-bicubic-224 (original folders)")
	f.StringVar(&o.Licence, "licence", "", "licence of the weights (original folders)")
	f.IntVar(&o.Epoch, "epoch", 0, "N of the model.pth.tar-N to use; 0: the highest (original folders)")
	f.BoolVar(&o.Best, "best", false, "use model-best.pth.tar (original folders)")
	cli.AddJSON(cmd)
	config.AddFlags(f, cli.ClientGroups...)
	return cmd
}

func importCheckpoint(ctx context.Context, cmd *cobra.Command, t *cli.Terminal, c *cli.Client, path string,
	o checkpoint.OriginalOptions) error {
	bundle, err := openAnyCheckpoint(ctx, c, path, o)
	if err != nil {
		return err
	}
	activate, err := cmd.Flags().GetBool("activate")
	if err != nil {
		return err
	}
	body, contentType, err := cli.ImportBody(bundle, o.Name, activate)
	if err != nil {
		return err
	}
	count, done := t.Upload(int64(len(body)), "sending "+bundle.Checkpoint().Name)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.Base+"/v1/checkpoints",
		io.TeeReader(bytes.NewReader(body), count))
	if err != nil {
		return err
	}
	req.ContentLength = int64(len(body))
	req.Header.Set("Content-Type", contentType)
	var report gateway.CheckpointReport
	err = c.Change(req, &report)
	done()
	if err != nil {
		return err
	}
	if cli.AsJSON(cmd) {
		return cli.PrintJSON(t.Out, report)
	}
	if report.Known {
		fmt.Fprintf(t.Out, "%s was already imported (%s)\n", report.Checkpoint.Name, report.Checkpoint.Digest)
	} else {
		fmt.Fprintf(t.Out, "%s imported (%s): %d golden scores within %.2g of their values on every Triton\n",
			report.Checkpoint.Name, report.Checkpoint.Digest, report.Golden, report.MaxDiff)
	}
	return printDefault(t, report.CheckpointChange)
}

// openAnyCheckpoint reads a bundle, or converts an original folder. Of that the
// server never sees a pickle: what is sent is a bundle.
func openAnyCheckpoint(ctx context.Context, c *cli.Client, path string,
	o checkpoint.OriginalOptions) (*checkpoint.Bundle, error) {
	limits := checkpoint.DefaultLimits()
	if _, err := os.Stat(filepath.Join(path, checkpoint.ManifestFile)); err == nil {
		limits.NoGolden = true // for the server to check
		return checkpoint.Open(path, limits)
	}
	for _, part := range []string{"prompt_learner", "regression"} {
		if _, err := os.Stat(filepath.Join(path, part)); err != nil {
			return nil, fmt.Errorf("%s is neither a bundle (no %s) nor the output of the original training (no %s)", path,
				checkpoint.ManifestFile, part)
		}
	}
	if o.Name == "" {
		return nil, errors.New("--name is required: folders of the original training contain no name")
	}
	var list cli.CheckpointList
	if err := c.Get(ctx, "/v1/checkpoints", &list); err != nil {
		return nil, err
	}
	if list.Encoder == nil {
		return nil, errors.New("the server does not know its encoder yet; try again in a moment")
	}
	o.Encoder = checkpoint.ManifestEncoder{Name: list.Encoder.Name, Digest: list.Encoder.Digest}
	return checkpoint.OpenOriginal(path, o, limits)
}

func newCheckpointActivate(t *cli.Terminal) *cobra.Command {
	return changeCommand(t, "activate NAME", "Make a checkpoint the default of the running server",
		cobra.ExactArgs(1), http.MethodPost,
		func(args []string) string { return "/v1/checkpoints/" + cli.PathSegment(args[0]) + "/activate" })
}

func newCheckpointDeactivate(t *cli.Terminal) *cobra.Command {
	return changeCommand(t, "deactivate", "Restore the previous default", cobra.NoArgs, http.MethodPost,
		func([]string) string { return "/v1/checkpoints/-/rollback" })
}

func newCheckpointRemove(t *cli.Terminal) *cobra.Command {
	cmd := changeCommand(
		t, "remove NAME", "Delete an imported checkpoint from the running server", cobra.ExactArgs(1), http.MethodDelete,
		func(args []string) string { return "/v1/checkpoints/" + cli.PathSegment(args[0]) })
	cli.AddYes(cmd)
	return cmd
}

func changeCommand(t *cli.Terminal, use, short string, args cobra.PositionalArgs, method string,
	path func([]string) string) *cobra.Command {
	cmd := &cobra.Command{
		Use: use, Short: short, Args: args,
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.OnAdmin(cmd, t, func(ctx context.Context, c *cli.Client) error {
				if cmd.Flags().Lookup("yes") != nil {
					if err := cli.Confirm(ctx, cmd, t, cmd.Name()+" checkpoint "+args[0], c.Base); err != nil {
						return err
					}
				}
				req, err := http.NewRequestWithContext(ctx, method, c.Base+path(args), nil)
				if err != nil {
					return err
				}
				var change gateway.CheckpointChange
				if err := c.Change(req, &change); err != nil {
					return err
				}
				if cli.AsJSON(cmd) {
					return cli.PrintJSON(t.Out, change)
				}
				return printDefault(t, change)
			})
		},
	}
	cli.AddJSON(cmd)
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

func printDefault(t *cli.Terminal, c gateway.CheckpointChange) error {
	line := "default: " + c.Default
	if c.Before != c.Default {
		line += " (was " + c.Before + ")"
	}
	if c.Previous != "" {
		line += "; agiqa checkpoint deactivate restores " + c.Previous
	}
	_, err := fmt.Fprintln(t.Out, line)
	return err
}

func newCheckpointDiff(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "diff A B", Short: "Show how two checkpoints of the server differ", Args: cobra.ExactArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.OnServer(cmd, t, func(ctx context.Context, c *cli.Client) error {
				var d gateway.CheckpointDiff
				if err := c.Get(ctx, "/v1/checkpoints/"+cli.PathSegment(args[0])+"/diff/"+cli.PathSegment(args[1]),
					&d); err != nil {
					return err
				}
				if cli.AsJSON(cmd) {
					return cli.PrintJSON(t.Out, d)
				}
				return printDiff(t, d)
			})
		},
	}
	cli.AddJSON(cmd)
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

func printDiff(t *cli.Terminal, d gateway.CheckpointDiff) error {
	w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\t%s\t%s\n", d.A.Name, d.B.Name)
	for _, f := range d.Fields {
		fmt.Fprintf(w, "%s\t%s\t%s\n", f.Field, inCell(f.A), inCell(f.B))
	}
	for _, x := range d.Tensors {
		switch {
		case fmt.Sprint(x.ShapeA) != fmt.Sprint(x.ShapeB):
			fmt.Fprintf(w, "%s\t%v\t%v\n", x.Name, x.ShapeA, x.ShapeB)
		case x.Equal:
			fmt.Fprintf(w, "%s\tequal\t\n", x.Name)
		default:
			fmt.Fprintf(w, "%s\tmax %.3g apart, RMS %.3g\tcosine %.4f\n", x.Name, x.MaxAbs, x.RMS, x.Cosine)
		}
	}
	return w.Flush()
}

// inCell keeps a value that may be a document, such as metrics, to a column;
// --json has it whole.
func inCell(s string) string {
	const width = 72 // a digest with its prefix has 71
	if r := []rune(s); len(r) > width {
		return string(r[:width-1]) + "…"
	}
	return s
}
