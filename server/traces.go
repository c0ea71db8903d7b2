package server

import (
	"context"
	"errors"
	"path/filepath"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/telemetry/tracelog"
)

// TraceFolder is where the setting trace keeps traces.
func TraceFolder(s config.Settings) string { return filepath.Join(s.DataDir, "traces") }

// keepTraces makes a collector of our own the endpoint of the settings, where
// these want traces to be kept and the server has the data folder to itself:
// gateway and Triton send their spans to it, and
// it sends them on to the endpoint that was set. It ends when both have sent their
// last.
func (s *Server) keepTraces(cfg Config) error {
	if !s.settings.Trace || cfg.Ephemeral {
		return nil
	}
	file, err := tracelog.Open(TraceFolder(s.settings), int64(s.settings.TraceBytes)/2)
	if err != nil {
		s.degrade(startFault{check: "traces", detail: "no traces are kept: their file in the data folder can't be opened"},
			err)
		return nil
	}
	receiver, err := tracelog.Listen(file, s.settings.OTLPEndpoint, s.logger)
	if err != nil {
		return errors.Join(err, file.Close())
	}
	s.settings.OTLPEndpoint = receiver.URL()
	s.onClose("the trace collector", endMark, func(ctx context.Context) error {
		return errors.Join(receiver.Close(ctx), file.Close())
	})
	return nil
}
