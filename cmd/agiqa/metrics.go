package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/metrics"
)

func newMetrics(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "metrics", Short: "Describe the metrics"}
	cmd.AddCommand(&cobra.Command{
		Use: "reference", Short: "Print the reference page of all metrics", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(t.Out, metrics.Reference())
			return err
		},
	})
	return cmd
}
