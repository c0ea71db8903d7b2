package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/shell"
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
	addServerFlags(cmd)
	return cmd
}

func up(ctx context.Context, s config.Settings, t *terminal) (err error) {
	start := time.Now()
	logger := newLogger(s, t.err, t.screen)
	t.note("agiqa %s: starting Triton (its log: %s)", versionText(), filepath.Join(s.DataDir, logName))
	if err := makeAdminKey(&s); err != nil {
		return fmt.Errorf("admin key: %w", err)
	}
	stopTraces, err := keepTraces(&s, logger)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stopTraces()) }()
	e, err := startEmbedded(ctx, s, false, logger)
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

// startEmbedded takes the port, starts Triton and wires the program. A guest
// works in a folder of its own beside a server that may use the same data
// folder: it has the same checkpoints and changes none.
func startEmbedded(ctx context.Context, s config.Settings, guest bool, logger *slog.Logger) (*embeddedProgram, error) {
	listener, err := listen(s.Listen)
	if err != nil {
		return nil, err
	}
	cfg, err := embeddedConfig(s, guest, logger)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	at, err := aroundTriton(s, guest, cfg)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	var running atomic.Pointer[program]
	cfg.OnState = func(state embedded.State) {
		if p := running.Load(); p != nil && state == embedded.Ready {
			p.wake() // it has lost what was loaded after its start
		}
	}
	server, err := embedded.Start(ctx, cfg)
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	at.addresses = []string{server.GRPCAddr()}
	p, err := newProgram(ctx, s, listener, at, logger)
	if err != nil {
		return nil, errors.Join(err, stopTriton(server))
	}
	running.Store(p)
	return &embeddedProgram{program: p, triton: server}, nil
}

// aroundTriton is the place of a gateway with a Triton of its own. Models of
// imported checkpoints are files in a repository beside the project's, unless
// the settings want them uploaded.
func aroundTriton(s config.Settings, guest bool, cfg embedded.Config) (place, error) {
	at := place{guest: guest}
	uploads := s.ModelUpload == "upload"
	var err error
	if at.library, err = openLibrary(s, uploads); err != nil {
		return at, err
	}
	repository := cfg.LaterRepositories[0]
	if err := os.MkdirAll(repository, 0o755); err != nil {
		return at, err
	}
	folder := tritonmodels.NewFolder(repository, cfg.ModelRepositories...)
	if uploads {
		return at, folder.Tidy(nil)
	}
	at.folder = folder
	return at, folder.Tidy(at.library.imported())
}

func embeddedConfig(s config.Settings, guest bool, logger *slog.Logger) (embedded.Config, error) {
	cfg := embedded.DefaultConfig()
	cfg.Venv = s.Venv
	cfg.ModelRepositories = []string{s.ModelRepository}
	dir := s.DataDir
	if guest {
		dir = filepath.Join(dir, "once")
	}
	cfg.LaterRepositories = []string{filepath.Join(dir, "model_repository")}
	cfg.RunDir = filepath.Join(dir, "run")
	cfg.LogFile = filepath.Join(dir, logName)
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

const logName = "tritonserver.log"

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

  curl -sS -H 'Content-Type: image/jpeg' --data-binary %s %s/v1/score
%s
Ctrl-C ends all of it.
`, versionText(), took.Seconds(), e.url(), e.triton.Version(), e.triton.GRPCAddr(), e.triton.LogFile(),
		encoder.Name, encoder.Digest, checkpoint.Name, checkpoint.Digest, shell.Quote("@"+example), e.url(), traceHint(e.settings))
}

// traceHint says how to see where the time of an answer went.
func traceHint(s config.Settings) string {
	if !s.Trace {
		return ""
	}
	return "\n  bin/agiqa trace list, and agiqa trace show TRACE_ID for the trace_id of an answer\n"
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
