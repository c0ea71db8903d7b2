package engine

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/internal/labels"
)

const scope = "github.com/agiqa/agiqa/experiment"

// telemetry counts. Labels are ids of experiments, so many of them, and their
// arms, which a definition bounds, and words from closed sets.
type telemetry struct {
	ids       labels.Bound
	tracer    trace.Tracer
	exposures metric.Int64Counter
	left      metric.Int64Counter
	degraded  metric.Int64Counter
	feedback  metric.Int64Counter
	trips     metric.Int64Counter
	store     metric.Int64Counter
}

func newTelemetry(tp trace.TracerProvider, mp metric.MeterProvider) (*telemetry, error) {
	meter := mp.Meter(scope)
	var faults []error
	counter := func(name, unit, text string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(text))
		faults = append(faults, err)
		return c
	}
	t := &telemetry{
		tracer:    tp.Tracer(scope),
		exposures: counter("agiqa.experiment.exposures", "{image}", "Images shown in an experiment and recorded, by the arm that they were assigned to and by outcome."),
		left:      counter("agiqa.experiment.left", "{request}", "Requests that an experiment did not take, by why: audience, no_unit, coverage."),
		degraded:  counter("agiqa.experiment.degraded", "{image}", "Images answered by the control because no record could be written."),
		feedback:  counter("agiqa.feedback", "{label}", "Feedback by kind and by what became of it."),
		trips:     counter("agiqa.experiment.guardrail.trips", "{trip}", "Guardrails that were broken, by kind and action."),
		store:     counter("agiqa.experiment.store.failures", "{call}", "Calls of the store of experiments that failed, by what was called."),
	}
	return t, errors.Join(faults...)
}

func (t *telemetry) exposed(ctx context.Context, id experiment.ID, arm experiment.ArmID, status string) {
	t.exposures.Add(ctx, 1, metric.WithAttributes(
		attribute.String("experiment", t.ids.Of(string(id))), attribute.String("arm", string(arm)), attribute.String("status", status)))
}

func (t *telemetry) leftOut(ctx context.Context, id experiment.ID, why string) {
	t.left.Add(ctx, 1, metric.WithAttributes(attribute.String("experiment", t.ids.Of(string(id))), attribute.String("why", why)))
}

func (t *telemetry) wasDegraded(ctx context.Context, id experiment.ID, n int) {
	t.degraded.Add(ctx, int64(n), metric.WithAttributes(attribute.String("experiment", t.ids.Of(string(id)))))
}

func (t *telemetry) labelled(ctx context.Context, kind experiment.FeedbackKind, standing string) {
	t.feedback.Add(ctx, 1, metric.WithAttributes(attribute.String("kind", string(kind)), attribute.String("standing", standing)))
}

func (t *telemetry) tripped(ctx context.Context, id experiment.ID, kind experiment.GuardrailKind, action experiment.Action) {
	t.trips.Add(ctx, 1, metric.WithAttributes(
		attribute.String("experiment", t.ids.Of(string(id))), attribute.String("guardrail", string(kind)), attribute.String("action", string(action))))
}

func (t *telemetry) storeFailed(ctx context.Context, call string) {
	t.store.Add(ctx, 1, metric.WithAttributes(attribute.String("call", call)))
}
