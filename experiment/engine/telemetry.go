package engine

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/internal/labels"
	"github.com/agiqa/agiqa/internal/metrics"
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
	tasks     metric.Int64Counter
	refused   metric.Int64Counter
}

func newTelemetry(tp trace.TracerProvider, mp metric.MeterProvider, images func() int64) (*telemetry, error) {
	meter := mp.Meter(scope)
	exposures, err1 := metrics.ExperimentExposures.New(meter)
	left, err2 := metrics.ExperimentLeft.New(meter)
	degraded, err3 := metrics.ExperimentDegraded.New(meter)
	feedback, err4 := metrics.Feedback.New(meter)
	trips, err5 := metrics.ExperimentGuardrailTrips.New(meter)
	store, err6 := metrics.ExperimentStoreFailures.New(meter)
	tasks, err7 := metrics.ExperimentTasks.New(meter)
	refused, err8 := metrics.FeedbackOrphansRefused.New(meter)
	remembered, err9 := metrics.ExperimentImages.New(meter)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7, err8, err9); err != nil {
		return nil, err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(remembered, images())
		return nil
	}, remembered)
	return &telemetry{
		tracer: tp.Tracer(scope), exposures: exposures, left: left, degraded: degraded, feedback: feedback, trips: trips,
		store: store, tasks: tasks, refused: refused,
	}, err
}

func (t *telemetry) exposed(ctx context.Context, id experiment.ID, arm experiment.ArmID, outcome string) {
	t.exposures.Add(ctx, 1, metric.WithAttributes(
		attribute.String("experiment", t.ids.Of(string(id))), attribute.String("arm", string(arm)), metrics.Outcome(outcome)))
}

func (t *telemetry) leftOut(ctx context.Context, id experiment.ID, reason string) {
	t.left.Add(ctx, 1, metric.WithAttributes(
		attribute.String("experiment", t.ids.Of(string(id))), metrics.Reason(reason)))
}

func (t *telemetry) wasDegraded(ctx context.Context, id experiment.ID, n int) {
	t.degraded.Add(ctx, int64(n), metric.WithAttributes(attribute.String("experiment", t.ids.Of(string(id)))))
}

func (t *telemetry) labelled(ctx context.Context, kind experiment.FeedbackKind, outcome string) {
	t.feedback.Add(ctx, 1, metric.WithAttributes(attribute.String("kind", string(kind)), metrics.Outcome(outcome)))
}

func (t *telemetry) tripped(
	ctx context.Context, id experiment.ID, kind experiment.GuardrailKind, action experiment.Action,
) {
	t.trips.Add(ctx, 1, metric.WithAttributes(
		attribute.String("experiment", t.ids.Of(string(id))), attribute.String("guardrail", string(kind)),
		attribute.String("action", string(action))))
}

func (t *telemetry) storeFailed(ctx context.Context, call string) {
	t.store.Add(ctx, 1, metric.WithAttributes(attribute.String("call", call)))
}

func (t *telemetry) asked(ctx context.Context, id experiment.ID, n int) {
	t.tasks.Add(ctx, int64(n), metric.WithAttributes(attribute.String("experiment", t.ids.Of(string(id)))))
}

func (t *telemetry) orphanRefused(ctx context.Context, limit string) {
	t.refused.Add(ctx, 1, metric.WithAttributes(attribute.String("limit", limit)))
}
