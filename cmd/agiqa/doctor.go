package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/prerequisites"
	"github.com/agiqa/agiqa/internal/tlsfiles"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/server"
)

func newDoctor(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Report what's missing on this machine and how to fix it",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			findings, err := examine(cmd.Context(), s)
			if err != nil {
				return err
			}
			return report(cmd, t, findings)
		},
	}
	cli.AddJSON(cmd)
	config.AddFlags(cmd.Flags(), cli.ServerGroups...)
	return cmd
}

// examine looks at everything that up needs, all of it, whatever fails.
func examine(ctx context.Context, s config.Settings) ([]embedded.Finding, error) {
	models := cli.ChooseModels(s)
	s.ModelRepository = models.Dir
	cfg, err := server.EmbeddedConfig(s, s.DataDir, cli.SystemTerminal().Env)
	if err != nil {
		return nil, err
	}
	findings := append(lookAtPrerequisites(ctx), embedded.Preflight(ctx, cfg)...)
	findings = append(findings, embedded.Finding{Name: "encoder", OK: true, Detail: models.Reason, Fix: models.Fix},
		lookAtListen(ctx, s), lookAtCheckpoints(s), lookAtDecoders(ctx, s))
	if s.TLSCert != "" || s.TLSKey != "" {
		findings = append(findings, lookAtCertificate(s))
	}
	if s.RedisURL != "" {
		findings = append(findings, lookAtRedis(ctx, s))
	}
	if s.OTLPEndpoint != "" {
		findings = append(findings, lookAtCollector(ctx, s))
	}
	if s.OTLPEndpoint != "" || s.Trace {
		findings = append(findings, embedded.TracesWhole())
	}
	return findings, nil
}

// lookAtPrerequisites reports what make needs in a checkout. Only what make run
// needs is a fault; a server that was built elsewhere needs none of it.
func lookAtPrerequisites(ctx context.Context) []embedded.Finding {
	const name = "prerequisites"
	// A release's archive has the list, and nothing to make.
	if !isFile("Makefile") || !isFile("internal/prerequisites/prerequisites.sh") {
		return []embedded.Finding{{Name: name, OK: true, Detail: "not looked for: this folder is no checkout of agiqa"}}
	}
	items, err := prerequisites.Status(ctx, ".")
	if err != nil {
		return []embedded.Finding{{Name: name, Detail: err.Error(), Fix: "install bash"}}
	}
	var findings []embedded.Finding
	for _, item := range items {
		f := embedded.Finding{Name: item.Name, Detail: item.Detail, OK: true}
		switch {
		case item.State == prerequisites.OK:
			continue
		case item.State == prerequisites.Download:
			f.Detail += "; make run downloads Python 3.12 with uv"
		case item.Purpose == "test":
			f.Detail += "; only make test needs it"
			f.Fix = "make deps"
		default:
			f.OK, f.Fix = false, "make deps"
		}
		findings = append(findings, f)
	}
	if findings == nil {
		findings = []embedded.Finding{{Name: name, OK: true, Detail: "make run and make test have all they need"}}
	}
	return findings
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

func lookAtListen(ctx context.Context, s config.Settings) embedded.Finding {
	f := embedded.Finding{Name: "listen", OK: true, Detail: s.Listen + " is free"}
	l, err := server.Listen("listen", s.Listen)
	switch {
	case err == nil:
		if err := l.Close(); err != nil {
			f.OK, f.Detail = false, err.Error()
		}
	case answersAt(ctx, s):
		f.Detail = "an agiqa server runs on " + s.Listen
	default:
		f.OK, f.Detail, f.Fix = false, err.Error(), "AGIQA_LISTEN=127.0.0.1:0 make run"
	}
	return f
}

// answersAt reports whether an agiqa server responds where this one would listen.
func answersAt(ctx context.Context, s config.Settings) bool {
	s.URL = "http://" + s.Listen
	if s.TLSCert != "" {
		s.URL = "https://" + s.Listen
	}
	c, err := cli.ClientOf(s)
	return err == nil && c.Answers(ctx)
}

// lookAtCertificate reports whether the certificate can be used.
func lookAtCertificate(s config.Settings) embedded.Finding {
	f := embedded.Finding{Name: "tls", Fix: "give a certificate in tls-cert and its key in tls-key, both in PEM"}
	files, err := tlsfiles.New(s.TLSCert, s.TLSKey)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	return embedded.Finding{Name: "tls", OK: true,
		Detail: "the certificate is valid until " + files.Expires().Format(time.DateOnly)}
}

func lookAtCheckpoints(s config.Settings) embedded.Finding {
	lib, err := server.OpenLibrary(s)
	if err != nil {
		return embedded.Finding{Name: "checkpoints", Detail: err.Error(),
			Fix: "git restore demo/checkpoints, or point --checkpoints at your own"}
	}
	return embedded.Finding{Name: "checkpoints", OK: true,
		Detail: fmt.Sprintf("%d in %s", len(lib.Snapshot().List()), s.Checkpoints)}
}

func lookAtRedis(ctx context.Context, s config.Settings) embedded.Finding {
	f := embedded.Finding{Name: "redis", OK: true, Detail: "answers and stores values"}
	const fix = "redis-server --port 6379, or unset AGIQA_REDIS_URL"
	cfg, err := server.RedisConfig(s)
	if err != nil {
		f.OK, f.Detail, f.Fix = false, err.Error(), fix
		return f
	}
	cfg.OperationTimeout = time.Second
	store, err := cache.NewRedis(cfg)
	if err != nil {
		f.OK, f.Detail, f.Fix = false, err.Error(), fix
		return f
	}
	if err := store.Check(ctx, quality.Encoder{}); err != nil {
		f.OK, f.Detail, f.Fix = false, cache.Explain(err), fix
	}
	if err := store.Close(); err != nil && f.OK {
		f.OK, f.Detail = false, err.Error()
	}
	return f
}

// lookAtCollector sends an export without spans, as telemetry sends those with
// some.
func lookAtCollector(ctx context.Context, s config.Settings) embedded.Finding {
	f := embedded.Finding{Name: "otlp", Detail: "no connection to " + s.OTLPEndpoint,
		Fix: "start a collector there, or unset " +
			"AGIQA_OTLP_ENDPOINT and OTEL_EXPORTER_OTLP_ENDPOINT (tracing never delays requests)"}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.OTLPEndpoint+"/v1/traces", http.NoBody)
	if err != nil {
		f.Detail = err.Error()
		return f
	}
	req.Header.Set("Content-Type", "application/x-protobuf")
	res, err := (&http.Client{Timeout: 2 * time.Second}).Do(req)
	if _, unconnected := errors.AsType[*net.OpError](err); err != nil && !unconnected {
		f.Detail = s.OTLPEndpoint + " doesn't answer HTTP"
		f.Fix = "give the collector's OTLP/HTTP port, 4318 by default (4317 is OTLP/gRPC)"
	}
	if err != nil {
		return f
	}
	_ = res.Body.Close()
	switch {
	case res.StatusCode/100 == 2:
		f.OK, f.Detail, f.Fix = true, s.OTLPEndpoint+" takes traces", ""
	case res.StatusCode == http.StatusUnauthorized, res.StatusCode == http.StatusForbidden:
		f.OK, f.Detail, f.Fix = true, s.OTLPEndpoint+" wants credentials (OTEL_EXPORTER_OTLP_HEADERS)", ""
	default:
		f.Detail = fmt.Sprintf("%s/v1/traces answers %s", s.OTLPEndpoint, res.Status)
		f.Fix = "give the base URL of a collector's OTLP/HTTP endpoint, such as http://127.0.0.1:4318"
	}
	return f
}

func report(cmd *cobra.Command, t *cli.Terminal, findings []embedded.Finding) error {
	bad := 0
	for _, f := range findings {
		if !f.OK {
			bad++
		}
	}
	if cli.AsJSON(cmd) {
		type finding struct {
			Name   string `json:"name"`
			OK     bool   `json:"ok"`
			Detail string `json:"detail"`
			Fix    string `json:"fix,omitempty"`
		}
		out := struct {
			OK       bool      `json:"ok"`
			Findings []finding `json:"findings"`
		}{OK: bad == 0}
		for _, f := range findings {
			out.Findings = append(out.Findings, finding(f))
		}
		if err := cli.PrintJSON(t.Out, out); err != nil {
			return err
		}
	} else {
		for _, f := range findings {
			mark := "ok    "
			if !f.OK {
				mark = "FAULT "
			}
			fmt.Fprintf(t.Out, "%s%-18s %s\n", mark, f.Name, f.Detail)
			if f.Fix != "" {
				fmt.Fprintf(t.Out, "      %-18s fix: %s\n", "", f.Fix)
			}
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of %d checks failed", bad, len(findings))
	}
	return nil
}

func newHealthcheck(t *cli.Terminal) *cobra.Command {
	cmd := &cobra.Command{
		Use: "healthcheck", Short: "Exit with 0 when the server at --url is ready (for container health checks)",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := cli.LoadSettings(cmd, t)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 5*time.Second)
			defer cancel()
			c, err := cli.ClientOf(s)
			if err != nil {
				return err
			}
			var report gateway.ReadinessReport
			if err := c.Get(ctx, "/readyz", &report); err != nil {
				return fmt.Errorf("%s: %w", s.URL+"/readyz", err)
			}
			return nil
		},
	}
	config.AddFlags(cmd.Flags(), cli.ClientGroups...)
	return cmd
}

// lookAtDecoders compares what this machine makes of a few pictures with what
// Pillow does.
func lookAtDecoders(ctx context.Context, s config.Settings) embedded.Finding {
	f := embedded.Finding{Name: "decoders", OK: true, Detail: "JPEG, PNG, WebP and GIF give Pillow's pixels"}
	preparer, err := server.NewPreparer(s)
	if err == nil {
		err = preparer.SelfTest(ctx)
	}
	if err != nil {
		f.OK, f.Detail = false, err.Error()
	}
	return f
}
