package bench

import (
	"context"
	"fmt"
	"net"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/benchmarks/load"
	"github.com/agiqa/agiqa/benchmarks/stubtriton"
	"github.com/agiqa/agiqa/cmd/agiqa/cli"
)

func newStubTriton(t *cli.Terminal) *cobra.Command {
	cfg := stubtriton.DefaultConfig()
	var listen string
	cmd := &cobra.Command{
		Use:   "stub-triton --service-time 10ms --listen 127.0.0.1:8001 [-- ENGINE...]",
		Short: "Run a stub of Triton, to measure the gateway in front of it",
		Long: "Serves Triton's gRPC protocol with the models of a repository: takes a fixed time for each request and " +
			"returns " +
			"unit vectors derived from the input. With an engine, a program and its arguments after --, images are embedded " +
			"by that (benchmarks/gpu/engine.py is one). Prints its address and runs until stopped.",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.ArgsLenAtDash() != 0 && len(args) > 0 {
				return fmt.Errorf("unknown argument %q; an engine comes after --", args[0])
			}
			cfg.Engine = args
			if !cmd.Flags().Changed("model-repository") {
				cfg.Repository = filepath.Join(cli.ProjectFolder(), cfg.Repository)
			}
			s, err := stubtriton.New(cfg)
			if err != nil {
				return err
			}
			return serveStub(cmd.Context(), t, listen, "stub Triton", s.Serve)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:8001", "address; port 0 picks a free one")
	f.StringVar(&cfg.Repository, "model-repository", cfg.Repository, "folder of models to announce")
	f.StringVar(&cfg.Variant, "variant", cfg.Variant, "configuration of each model: embedded, cpu or gpu")
	f.DurationVar(&cfg.ServiceTime, "service-time", cfg.ServiceTime, "service time of a request")
	f.IntVar(&cfg.Instances, "instances", cfg.Instances, "concurrent requests per model")
	return cmd
}

func newStubHTTP(t *cli.Terminal) *cobra.Command {
	var s load.Stub
	var listen string
	cmd := &cobra.Command{
		Use:   "stub-http --listen 127.0.0.1:8090",
		Short: "Run a trivial HTTP server, to measure the load generator",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if s.ServiceTime < 0 || s.Concurrency < 0 {
				return fmt.Errorf("--service-time %s and --concurrency %d must not be negative", s.ServiceTime, s.Concurrency)
			}
			return serveStub(cmd.Context(), t, listen, "stub", s.Serve)
		},
	}
	f := cmd.Flags()
	f.StringVar(&listen, "listen", "127.0.0.1:8090", "address; port 0 picks a free one")
	f.DurationVar(&s.ServiceTime, "service-time", 0, "service time of a request")
	f.IntVar(&s.Concurrency, "concurrency", 0, "maximum number of concurrent requests; 0: unlimited")
	return cmd
}

// serveStub runs a stub until a signal, which is how it is meant to end. Its
// first line says where it is.
func serveStub(ctx context.Context, t *cli.Terminal, listen, what string,
	serve func(context.Context, net.Listener) error) error {
	l, err := net.Listen("tcp", listen)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(t.Out, "%s at %s\n", what, l.Addr()); err != nil {
		l.Close()
		return err
	}
	return serve(ctx, l)
}
