package telemetry

import (
	"context"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// SampledOnly returns a W3C trace-context propagator that sends sampled
// contexts and nothing else. Triton traces every request that carries a valid
// context, whatever its sampled flag says.
func SampledOnly() propagation.TextMapPropagator { return sampledOnly{} }

type sampledOnly struct{ propagation.TraceContext }

// Inject implements [propagation.TextMapPropagator].
func (s sampledOnly) Inject(ctx context.Context, carrier propagation.TextMapCarrier) {
	if trace.SpanContextFromContext(ctx).IsSampled() {
		s.TraceContext.Inject(ctx, carrier)
	}
}
