package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"

	"github.com/spf13/cobra"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
)

func newConfig(t *terminal) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Explain the settings"}
	cmd.AddCommand(&cobra.Command{
		Use: "reference", Short: "Print the reference page of all settings", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprint(t.out, config.Reference())
			return err
		},
	})
	return cmd
}

func newOpenAPI(t *terminal) *cobra.Command {
	return &cobra.Command{
		Use: "openapi", Short: "Print the OpenAPI 3.1 document of the server", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			document, err := openAPI()
			if err != nil {
				return err
			}
			_, err = t.out.Write(document)
			return err
		},
	}
}

// openAPI describes a gateway with the default settings; nothing behind it is
// ever called.
func openAPI() ([]byte, error) {
	s := config.Default()
	g, err := gateway.New(gateway.Config{
		Version: version, RequestTimeout: s.RequestTimeout, MaxBodyBytes: int64(s.MaxBodyBytes),
		MaxImages: s.MaxImages, MaxImageBytes: int64(s.MaxImageBytes),
	}, gateway.Deps{
		Readiness: gateway.NewReadiness(1, 1), Metrics: http.NotFoundHandler(), Experiments: &engine.Engine{},
		Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return nil, err
	}
	return g.OpenAPI()
}

// pathSegment escapes a name that stands in a path.
func pathSegment(name string) string { return url.PathEscape(name) }

// onServer runs f against the server at the url setting, which must be there.
func onServer(cmd *cobra.Command, t *terminal, f func(ctx context.Context, c *client) error) error {
	s, err := loadSettings(cmd, t)
	if err != nil {
		return err
	}
	c := newClient(s.URL)
	if !c.answers(cmd.Context()) {
		return fmt.Errorf("setting url: no agiqa server answers at %s (start one with agiqa up)", s.URL)
	}
	return f(cmd.Context(), c)
}
