package telemetry_test

import (
	"testing"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/telemetry"
)

func TestSampledOnly(t *testing.T) {
	of := func(flags trace.TraceFlags, id trace.TraceID) trace.SpanContext {
		return trace.NewSpanContext(trace.SpanContextConfig{TraceID: id, SpanID: trace.SpanID{2}, TraceFlags: flags})
	}
	for _, test := range []struct {
		name string
		span trace.SpanContext
		want string
	}{
		{"sampled", of(trace.FlagsSampled, trace.TraceID{1}), "00-01000000000000000000000000000000-0200000000000000-01"},
		{"not sampled", of(0, trace.TraceID{1}), ""},
		{"not valid", of(trace.FlagsSampled, trace.TraceID{}), ""},
		{"none", trace.SpanContext{}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			carrier := propagation.MapCarrier{}
			telemetry.SampledOnly().Inject(trace.ContextWithSpanContext(t.Context(), test.span), carrier)
			if got := carrier["traceparent"]; got != test.want {
				t.Errorf("traceparent %q, want %q", got, test.want)
			}
			if test.want == "" {
				if len(carrier) != 0 {
					t.Errorf("carrier %v, want nothing", carrier)
				}
				return
			}
			back := trace.SpanContextFromContext(telemetry.SampledOnly().Extract(t.Context(), carrier))
			if back.TraceID() != test.span.TraceID() || back.SpanID() != test.span.SpanID() {
				t.Errorf("extracted %v, want %v", back, test.span)
			}
		})
	}
}
