package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/internal/config"
)

func newUp(t *terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: an embedded Triton and the gateway",
		Long:  "Starts the tritonserver of the project's Python environment as a supervised child on free loopback ports, then the gateway. Ctrl-C ends both.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := loadSettings(cmd, t)
			if err != nil {
				return err
			}
			return up(cmd.Context(), s, t)
		},
	}
	config.AddFlags(cmd.Flags(), serverGroups...)
	return cmd
}

func up(ctx context.Context, s config.Settings, t *terminal) error {
	start := time.Now()
	logger := newLogger(s, t.err, t.screen)
	t.note("agiqa %s: starting Triton (its log: %s)", versionText(), logFile(s))
	e, err := startEmbedded(ctx, s, logger)
	if err != nil {
		return err
	}
	return e.run(ctx, func() { banner(t.out, e, time.Since(start)) })
}

// embeddedProgram is a program with a Triton of its own.
type embeddedProgram struct {
	*program
	triton *embedded.Server
}

// startEmbedded takes the port, starts Triton and wires the program.
func startEmbedded(ctx context.Context, s config.Settings, logger *slog.Logger) (*embeddedProgram, error) {
	listener, err := listen(s.Listen)
	if err != nil {
		return nil, err
	}
	cfg, err := embeddedConfig(s, logger)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	server, err := embedded.Start(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	p, err := newProgram(ctx, s, listener, []string{server.GRPCAddr()}, logger)
	if err != nil {
		return nil, errors.Join(err, stopTriton(server))
	}
	return &embeddedProgram{program: p, triton: server}, nil
}

func embeddedConfig(s config.Settings, logger *slog.Logger) (embedded.Config, error) {
	cfg := embedded.DefaultConfig()
	cfg.Venv = s.Venv
	cfg.ModelRepositories = []string{s.ModelRepository}
	cfg.RunDir = filepath.Join(s.DataDir, "run")
	cfg.LogFile = logFile(s)
	cfg.Env = systemTerminal().env
	cfg.Logger = logger
	if s.OTLPEndpoint != "" {
		traces, err := url.JoinPath(s.OTLPEndpoint, "v1", "traces")
		if err != nil {
			return cfg, fmt.Errorf("setting otlp-endpoint: %w", err)
		}
		cfg.OTLPTracesURL = traces
	}
	return cfg, nil
}

func logFile(s config.Settings) string { return filepath.Join(s.DataDir, "tritonserver.log") }

// run serves until ctx ends or Triton is given up, then stops both, the
// gateway first.
func (e *embeddedProgram) run(ctx context.Context, ready func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := make(chan error, 1)
	go func() {
		select {
		case <-e.triton.Done():
			watched <- e.triton.Err()
			cancel()
		case <-ctx.Done():
			watched <- nil
		}
	}()
	err := e.program.run(ctx, ready)
	cancel()
	return errors.Join(err, <-watched, stopTriton(e.triton))
}

func stopTriton(server *embedded.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return server.Stop(ctx)
}

// banner tells the person what runs, and how to try it.
func banner(w io.Writer, e *embeddedProgram, took time.Duration) {
	encoder, _ := e.models.service.Encoder()
	checkpoint, _ := e.library.Default()
	example := examplePath(e.settings)
	fmt.Fprintf(w, `
agiqa %s is ready after %.1f s

  address     %s  (API: /docs, try it in a browser: /)
  triton      %s, gRPC on %s, log in %s
  encoder     %s  %s
  checkpoint  %s  %s

  curl -sS -H 'Content-Type: image/jpeg' --data-binary @%s %s/v1/score

Ctrl-C ends all of it.
`, versionText(), took.Seconds(), e.url(), e.triton.Version(), e.triton.GRPCAddr(), e.triton.LogFile(),
		encoder.Name, encoder.Digest, checkpoint.Name, checkpoint.Digest, example, e.url())
}

// examplePath is a picture to try: one of the repository's, seen from where
// the person stands.
func examplePath(s config.Settings) string {
	path := filepath.Join(filepath.Dir(s.Checkpoints), "examples", "harbour.jpg")
	if abs, err := filepath.Abs("."); err == nil {
		if rel, err := filepath.Rel(abs, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}
