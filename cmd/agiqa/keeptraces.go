package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/telemetry/tracelog"
)

// keepTraces makes a collector of our own the endpoint of s, where the
// settings want traces to be kept: gateway and Triton send their spans to it,
// and it sends them on to the endpoint that was set. stop is called when both
// have sent their last.
func keepTraces(s *config.Settings, logger *slog.Logger) (stop func() error, err error) {
	if !s.Trace {
		return func() error { return nil }, nil
	}
	file, err := tracelog.Open(traceFolder(*s), int64(s.TraceBytes)/2)
	if err != nil {
		return nil, fmt.Errorf("setting trace: %w", err)
	}
	receiver, err := tracelog.Listen(file, s.OTLPEndpoint, logger)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	s.OTLPEndpoint = receiver.URL()
	return func() error {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		return errors.Join(receiver.Close(ctx), file.Close())
	}, nil
}
