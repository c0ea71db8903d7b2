package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/bench"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

func newRoot(t *cli.Terminal) *cobra.Command {
	root := &cobra.Command{
		Use:           "agiqa",
		Short:         "Score AI-generated images with CLIP-AGIQA on NVIDIA Triton",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       cli.VersionText(),
	}
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	root.SetIn(t.In)
	root.SetVersionTemplate("agiqa {{.Version}}\n")
	root.PersistentFlags().String("config", "", "YAML file with settings (AGIQA_CONFIG)")
	root.AddCommand(
		newUp(t), newServe(t), newTrace(t),
		newScore(t), newCompare(t), newEval(t), newPreprocess(t), newTokenize(t), newCheckpoint(t), newModels(t),
		newExperiment(t), bench.New(t),
		newDoctor(t), newHealthcheck(t), newConfig(t), newOpenAPI(t), newMetrics(t), newVersion(t),
	)
	return root
}

func newVersion(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cli.AsJSON(cmd) {
				return cli.PrintJSON(t.Out, map[string]string{"version": cli.Version, "commit": cli.Commit()})
			}
			_, err := fmt.Fprintln(t.Out, "agiqa "+cli.VersionText())
			return err
		},
	}
	cli.AddJSON(cmd)
	return cmd
}
