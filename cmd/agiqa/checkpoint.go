package main

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

func newCheckpoint(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "checkpoint", Short: "Inspect and change the prompt checkpoints of the running server"}
	cmd.AddCommand(
		newCheckpointList(t), newCheckpointShow(t), newCheckpointDiff(t),
		newCheckpointImport(t), newCheckpointActivate(t), newCheckpointDeactivate(t), newCheckpointRemove(t),
		newCheckpointMaterialize(t),
	)
	return cmd
}

func newCheckpointList(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "list", Short: "List the checkpoints of the server", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cli.OnServer(cmd, t, func(ctx context.Context, c *cli.Client) error {
				var list cli.CheckpointList
				if err := c.Get(ctx, "/v1/checkpoints", &list); err != nil {
					return err
				}
				if cli.AsJSON(cmd) {
					return cli.PrintJSON(t.Out, list)
				}
				w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
				fmt.Fprintln(w, "\tNAME\tTASK\tSCALE\tVIEWS\tEVALUATION\tUSABLE\tDIGEST")
				for _, v := range list.Checkpoints {
					mark := ""
					if v.Default {
						mark = "*"
					}
					fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%d\t%s\t%t\t%s\n", mark, v.Name, v.Task, scaleText(v.Scale), len(v.Views),
						evaluations(v), v.Usable, v.Digest)
				}
				return w.Flush()
			})
		},
	}
	cli.AddJSON(cmd)
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

func newCheckpointShow(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "show NAME", Short: "Show the details of a checkpoint", Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return cli.OnServer(cmd, t, func(ctx context.Context, c *cli.Client) error {
				var view gateway.CheckpointView
				if err := c.Get(ctx, "/v1/checkpoints/"+cli.PathSegment(args[0]), &view); err != nil {
					return err
				}
				if cli.AsJSON(cmd) {
					return cli.PrintJSON(t.Out, view)
				}
				w := tabwriter.NewWriter(t.Out, 0, 0, 2, ' ', 0)
				for _, row := range [][2]any{
					{"name", view.Name}, {"digest", view.Digest}, {"default", view.Default},
					{"encoder", view.Encoder}, {"usable", view.Usable},
					{"task", view.Task}, {"scale", scaleText(view.Scale)}, {"views", strings.Join(view.Views, ", ")},
					{"recipe", view.Recipe},
					{"intervals", coverageText(view)}, {"reference", referenceText(view)}, {"evaluation", evaluations(view)},
					{"context", fmt.Sprintf("%d vectors, class token at the %s, class-specific %t", view.ContextLength,
						view.Position, view.ClassSpecific)},
					{"licence", view.Licence}, {"imported", view.Imported},
				} {
					fmt.Fprintf(w, "%s\t%v\n", row[0], row[1])
				}
				return w.Flush()
			})
		},
	}
	cli.AddJSON(cmd)
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

func scaleText(s gateway.ScoreScale) string {
	text := fmt.Sprintf("%g..%g %s", s.Min, s.Max, s.Unit)
	if s.Clamp {
		text += ", clamped"
	}
	return text
}

func coverageText(v gateway.CheckpointView) string {
	if v.Coverage == nil {
		return "none"
	}
	return fmt.Sprintf("%g %% nominal coverage", 100**v.Coverage)
}

func referenceText(v gateway.CheckpointView) string {
	if v.Reference == nil {
		return "none"
	}
	return fmt.Sprintf("%d embeddings, threshold %g", v.Reference.Rows, v.Reference.Threshold)
}

// evaluations is what a checkpoint was evaluated on, in one line.
func evaluations(v gateway.CheckpointView) string {
	if len(v.Evaluation) == 0 {
		return "none"
	}
	var all []string
	for _, e := range v.Evaluation {
		all = append(all, fmt.Sprintf("%s (%s, %d images): SRCC %.2f [%.2f, %.2f]", e.Dataset, e.Task, e.Images, e.SRCC,
			e.Low, e.High))
	}
	return strings.Join(all, "; ")
}

func newCheckpointMaterialize(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "materialize BUNDLE --out MODEL_REPOSITORY",
		Short: "Write a bundle's head and ensemble as Triton models",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			out, err := cmd.Flags().GetString("out")
			if err != nil || out == "" {
				return fmt.Errorf("--out is required: a folder of Triton models")
			}
			bundle, err := checkpoint.Open(args[0], checkpoint.DefaultLimits())
			if err != nil {
				return err
			}
			if err := checkpoint.Materialize(bundle, out); err != nil {
				return err
			}
			c := bundle.Checkpoint()
			models := c.HeadModel() + "\n"
			if c.HasEnsemble() {
				models += c.EnsembleModel() + "\n"
			}
			_, err = fmt.Fprint(t.Out, models)
			return err
		},
	}
	cmd.Flags().String("out", "", "folder of Triton models")
	return cmd
}
