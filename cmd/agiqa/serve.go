package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/internal/config"
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
			if len(s.Triton) == 0 {
				return errors.New("setting triton (AGIQA_TRITON) is empty: give Triton's gRPC addresses, or use agiqa up, which starts one")
			}
			return serve(cmd.Context(), s, t)
		},
	}
	addServerFlags(cmd)
	return cmd
}

func serve(ctx context.Context, s config.Settings, t *terminal) (err error) {
	listener, err := listen(s.Listen)
	if err != nil {
		return err
	}
	logger := newLogger(s, t.err, t.screen)
	stopTraces, err := keepTraces(&s, logger)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, stopTraces()) }()
	at, err := besideTriton(s)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	p, err := newProgram(ctx, s, listener, at, logger)
	if err != nil {
		return err
	}
	logger.Info("listening", "address", p.url(), "triton", s.Triton, "version", version)
	return p.run(ctx, func() { logger.Info("ready", "address", p.url()) })
}

// besideTriton is the place of a gateway whose Tritons run elsewhere. They
// share no disk with it unless the settings say so.
func besideTriton(s config.Settings) (place, error) {
	at := place{addresses: s.Triton}
	var err error
	if at.library, err = openLibrary(s, s.ModelUpload != "shared"); err != nil {
		return at, err
	}
	if s.ModelUpload == "shared" {
		at.folder = tritonmodels.NewFolder(s.ModelRepository)
	}
	return at, nil
}

// listen opens the port before anything slow happens, and says what to do when
// it is taken.
func listen(address string) (net.Listener, error) { return listenOn("listen", address) }

// listenOn is listen for the address of any setting.
func listenOn(key, address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if errors.Is(err, syscall.EADDRINUSE) {
		return nil, fmt.Errorf("setting %s: another program uses %s; stop it, or choose another address with --%s or %s (port 0 picks a free one)",
			key, address, key, config.EnvName(key))
	}
	if err != nil {
		return nil, fmt.Errorf("setting %s: %w", key, err)
	}
	return l, nil
}
