package server

import (
	"io"
	"log/slog"

	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/telemetry"
)

// NewLogger writes to w as the settings say. Every line that is written while
// a span is active carries its trace and span ids.
func NewLogger(s config.Settings, w io.Writer, screen bool) *slog.Logger {
	var level slog.Level
	if err := level.UnmarshalText([]byte(s.LogLevel)); err != nil {
		level = slog.LevelInfo // Validate let nothing else through
	}
	options := &slog.HandlerOptions{Level: level}
	var handler slog.Handler = slog.NewJSONHandler(w, options)
	if s.LogFormat == "text" || (s.LogFormat == "auto" && screen) {
		handler = slog.NewTextHandler(w, options)
	}
	return slog.New(telemetry.WithTraceIDs(handler))
}
