package main

import (
	"fmt"
	"log/slog"
	"net/http"

	"github.com/spf13/cobra"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/version"
)

func newConfig(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Describe the settings"}
	cmd.AddCommand(&cobra.Command{
		Use: "reference", Short: "Print the reference page of all settings", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(t.Out, config.Reference())
			return err
		},
	})
	return cmd
}

func newOpenAPI(t *cli.Terminal) *cobra.Command {
	return &cobra.Command{
		Use: "openapi", Short: "Print the OpenAPI 3.1 document of the server", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			document, err := openAPI()
			if err != nil {
				return err
			}
			_, err = t.Out.Write(document)
			return err
		},
	}
}

// openAPI describes a gateway with the default settings; nothing behind it is
// ever called.
func openAPI() ([]byte, error) {
	s := config.Default()
	g, err := gateway.New(gateway.Config{
		Version: version.Current().Version, RequestTimeout: s.RequestTimeout, MaxBodyBytes: int64(s.MaxBodyBytes),
		MaxImages: s.MaxImages, MaxImageBytes: int64(s.MaxImageBytes),
	}, gateway.Deps{
		Readiness: gateway.NewReadiness(1, 1), Metrics: http.NotFoundHandler(),
		Experiments: &engine.Engine{}, Keys: &access.Keys{},
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return g.OpenAPI()
}
