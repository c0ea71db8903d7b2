package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/version"
	"github.com/agiqa/agiqa/server"
)

func newServe(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Run the gateway with a remote Triton",
		Long: "Runs the gateway only. --triton (AGIQA_TRITON) lists the gRPC addresses of the Triton servers that " +
			"host the models. SIGHUP makes it read the certificate again.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, given, err := cli.LoadGiven(cmd, t)
			if err != nil {
				return err
			}
			if _, set := given["drain-delay"]; !set {
				s.DrainDelay = server.DefaultDrainDelay(s)
			}
			return serve(cmd.Context(), s, t)
		},
	}
	cli.AddServerFlags(cmd)
	takeKServeFlags(cmd)
	return cmd
}

// takeKServeFlags accepts what KServe appends to a transformer's arguments. The
// gateway has settings for all of it (deploy/kserve).
func takeKServeFlags(cmd *cobra.Command) {
	for _, name := range []string{"model_name", "predictor_host", "http_port", "workers"} {
		cmd.Flags().String(name, "", "")
		_ = cmd.Flags().MarkHidden(name) // an error: there is no such flag
	}
}

func serve(ctx context.Context, s config.Settings, t *cli.Terminal) error {
	logger := server.NewLogger(s, t.Err, t.Screen)
	srv, err := server.New(ctx, server.Config{Settings: s, Version: version.Current().Version, Logger: logger})
	if err != nil {
		return err
	}
	for _, warning := range srv.AccessWarnings() {
		logger.Warn(warning)
	}
	logger.Info("listening", "address", srv.URL(), "access", srv.Access(), "triton", s.Triton,
		"version", version.Current().Version)
	t.OnHangup(srv.Reload)
	return srv.Run(ctx, func() { logger.Info("ready", "address", srv.URL()) })
}
