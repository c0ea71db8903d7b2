package server

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/telemetry/tracelog"
)

// TraceFolder is where the setting trace keeps traces.
func TraceFolder(s config.Settings) string { return filepath.Join(s.DataDir, "traces") }

// keepTraces makes a collector of our own the endpoint of the settings, where
// these want traces to be kept and the server has the data folder to itself:
// gateway and Triton send their spans to it, and
// it sends them on to the endpoint that was set. stop is called when both have
// sent their last.
func (c Config) keepTraces() (s config.Settings, stop func(context.Context) error, err error) {
	s = c.Settings
	if !s.Trace || c.Ephemeral {
		return s, func(context.Context) error { return nil }, nil
	}
	file, err := tracelog.Open(TraceFolder(s), int64(s.TraceBytes)/2)
	if err != nil {
		return s, nil, fmt.Errorf("setting trace: %w", err)
	}
	receiver, err := tracelog.Listen(file, s.OTLPEndpoint, c.Logger)
	if err != nil {
		return s, nil, errors.Join(err, file.Close())
	}
	s.OTLPEndpoint = receiver.URL()
	return s, func(ctx context.Context) error {
		return errors.Join(receiver.Close(ctx), file.Close())
	}, nil
}
