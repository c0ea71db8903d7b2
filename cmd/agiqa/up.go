package main

import (
	"context"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/shell"
	"github.com/agiqa/agiqa/internal/version"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/server"
)

func newUp(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Run everything on this machine: the gateway and an embedded Triton",
		Long: "Starts tritonserver from the project's Python environment as a supervised child process on a Unix socket, " +
			"then the gateway. Ctrl-C stops both.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			return up(cmd.Context(), s, t)
		},
	}
	cli.AddServerFlags(cmd)
	return cmd
}

func up(ctx context.Context, s config.Settings, t *cli.Terminal) error {
	start := time.Now()
	t.Note("agiqa %s: starting Triton (its log: %s)", version.Current().Version,
		filepath.Join(s.DataDir, server.TritonLog))
	if err := server.EnsureAdminKey(&s); err != nil {
		t.Note("agiqa: warning: there is no admin key: %v", err)
	}
	cfg := t.Embedded(s, false)
	srv, err := server.New(ctx, cfg)
	if err != nil {
		return err
	}
	for _, warning := range srv.AccessWarnings() {
		t.Note("agiqa: warning: %s", warning)
	}
	return srv.Run(ctx, func() { banner(t.Out, s, srv, cfg.Models, time.Since(start)) })
}

// banner tells the person what runs, and how to try it.
func banner(w io.Writer, s config.Settings, srv *server.Server, models string, took time.Duration) {
	encoder, _ := srv.Encoder()
	entry, _ := srv.Library().Snapshot().Default()
	checkpoint := entry.Checkpoint
	example := examplePath()
	fmt.Fprintf(w, `
agiqa %s is ready after %.1f s

  address     %s  (API: /docs, try it in a browser: /)
  access      %s
  triton      %s, gRPC on %s, log in %s
  encoder     %s  %s
              %s
  checkpoint  %s  %s

  curl -sS%s -H 'Content-Type: image/jpeg' --data-binary %s %s/v1/score
%s
Ctrl-C stops everything.
`, version.Current().Version, took.Seconds(), srv.URL(), srv.Access(), srv.Child().Version(), srv.Child().GRPCAddr(), srv.Child().LogFile(),
		encoderText(encoder), encoder.Digest, models, checkpoint.Name, checkpoint.Digest,
		keyHeader(srv), shell.Quote("@"+example), srv.URL(), traceHint(s))
}

// keyHeader is what curl has to send where scoring needs a key.
func keyHeader(srv *server.Server) string {
	if srv.OpenScoring() {
		return ""
	}
	return " -H \"Authorization: Bearer $AGIQA_API_KEY\""
}

// encoderText is an encoder's name, with the precision if it isn't the full one.
func encoderText(e quality.Encoder) string {
	if e.Precision == "" {
		return e.Name
	}
	return e.Name + " (" + e.Precision + ")"
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
func examplePath() string {
	path := filepath.Join(cli.ProjectFolder(), "examples", "harbour.jpg")
	if abs, err := filepath.Abs("."); err == nil {
		if rel, err := filepath.Rel(abs, path); err == nil && len(rel) < len(path) {
			return rel
		}
	}
	return path
}
