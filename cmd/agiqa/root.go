package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/bench"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/version"
)

func newRoot(t *cli.Terminal) *cobra.Command {
	root := &cobra.Command{
		Use:           "agiqa",
		Short:         "Score AI-generated images with CLIP-AGIQA on NVIDIA Triton",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version.Current().Version,
	}
	root.SetOut(t.Out)
	root.SetErr(t.Err)
	root.SetIn(t.In)
	root.SetVersionTemplate("agiqa {{.Version}}\n")
	root.PersistentFlags().String("config", "", "YAML file with settings (AGIQA_CONFIG)")
	root.AddCommand(
		newUp(t), newServe(t), newTrace(t),
		newScore(t), newCompare(t), newEval(t), newPreprocess(t), newTokenize(t), newCheckpoint(t), newEncoder(t),
		newModels(t),
		newExperiment(t), newKey(t), bench.New(t),
		newDoctor(t), newHealthcheck(t), newConfig(t), newOpenAPI(t), newMetrics(t), newVersion(t),
	)
	checkNames(root)
	return root
}

func newVersion(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "version", Short: "Print the version, the commit, and what the binary was built with", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			build := version.Current()
			if cli.AsJSON(cmd) {
				return cli.PrintJSON(t.Out, build)
			}
			return printVersion(t.Out, build)
		},
	}
	cli.AddJSON(cmd)
	return cmd
}

func printVersion(w io.Writer, build version.Info) error {
	commit, date := build.Commit, build.Date
	switch {
	case commit == "":
		commit, date = "unknown", "unknown"
	case build.Modified:
		commit += ", with changes"
	}
	_, err := fmt.Fprintf(w, "agiqa %s\n\n  commit    %s\n  date      %s\n  go        %s\n  platform  %s\n",
		build.Version, commit, date, build.Go, build.Platform)
	return err
}
