package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/server"
)

func newServe(t *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway against a Triton that runs elsewhere",
		Long:  "Runs the gateway alone. --triton (AGIQA_TRITON) names the gRPC addresses of one or more Triton servers that hold the models.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadSettings(cmd, t)
			if err != nil {
				return err
			}
			return serve(cmd.Context(), s, t)
		},
	}
	addServerFlags(cmd)
	return cmd
}

func serve(ctx context.Context, s config.Settings, t *terminal) error {
	logger := server.NewLogger(s, t.err, t.screen)
	srv, err := server.New(ctx, server.Config{Settings: s, Version: version, Logger: logger})
	if err != nil {
		return err
	}
	logger.Info("listening", "address", srv.URL(), "triton", s.Triton, "version", version)
	return srv.Run(ctx, func() { logger.Info("ready", "address", srv.URL()) })
}
