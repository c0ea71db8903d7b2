package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/agiqa/agiqa/telemetry"
)

func TestRecordsCarryTheirTrace(t *testing.T) {
	ctx, span := sdktrace.NewTracerProvider().Tracer("test").Start(t.Context(), "work")
	defer span.End()
	ids := map[string]any{"trace_id": span.SpanContext().TraceID().String(),
		"span_id": span.SpanContext().SpanID().String()}
	for _, test := range []struct {
		name  string
		ctx   context.Context
		with  func(*slog.Logger) *slog.Logger
		group string
		want  map[string]any
	}{
		{"in a span", ctx, nil, "", ids},
		{"without a span", t.Context(), nil, "", nil},
		{"with attributes", ctx, func(l *slog.Logger) *slog.Logger { return l.With("a", 1) }, "", ids},
		{"in a group", ctx, func(l *slog.Logger) *slog.Logger { return l.WithGroup("g") }, "g", ids},
	} {
		t.Run(test.name, func(t *testing.T) {
			var out bytes.Buffer
			logger := slog.New(telemetry.WithTraceIDs(slog.NewJSONHandler(&out, nil)))
			if test.with != nil {
				logger = test.with(logger)
			}
			logger.InfoContext(test.ctx, "hello", "k", "v")
			logger.DebugContext(test.ctx, "below the level")
			var got map[string]any
			if err := json.Unmarshal(out.Bytes(), &got); err != nil {
				t.Fatalf("%v in %q", err, out.String())
			}
			if test.group != "" {
				got, _ = got[test.group].(map[string]any)
			}
			if got["k"] != "v" {
				t.Errorf("record %v lost its own attribute", got)
			}
			for _, key := range []string{"trace_id", "span_id"} {
				if got[key] != test.want[key] {
					t.Errorf("%s is %v, want %v", key, got[key], test.want[key])
				}
			}
		})
	}
}
