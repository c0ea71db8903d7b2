package replicas

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/agiqa/agiqa/internal/metrics"
)

// scope is that of the client, whose calls are measured here.
const scope = "github.com/agiqa/agiqa/tritonclient"

// instruments measure what a pool does.
type instruments struct {
	attempts, retries, ejections metric.Int64Counter
	duration                     metric.Float64Histogram
	release                      func() error
	label                        func(model string) string
}

func newInstruments(p *Pool) (*instruments, error) {
	provider := p.cfg.Meter
	if provider == nil {
		provider = noop.NewMeterProvider()
	}
	meter := provider.Meter(scope)
	attempts, err1 := metrics.TritonAttempts.New(meter)
	duration, err2 := metrics.TritonDuration.New(meter)
	retries, err3 := metrics.TritonRetries.New(meter)
	ejections, err4 := metrics.TritonEjections.New(meter)
	ejected, err5 := metrics.TritonEjected.New(meter)
	active, err6 := metrics.TritonInferencesActive.New(meter)
	abandoned, err7 := metrics.TritonInferencesAbandoned.New(meter)
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return nil, err
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		out := int64(0)
		for _, r := range p.all() {
			if is, _ := r.health.isEjected(); is {
				out++
			}
		}
		running, left := p.inFlight.count()
		o.ObserveInt64(ejected, out)
		o.ObserveInt64(active, int64(running))
		o.ObserveInt64(abandoned, int64(left))
		return nil
	}, ejected, active, abandoned)
	if err != nil {
		return nil, err
	}
	return &instruments{
		attempts: attempts, retries: retries, ejections: ejections, duration: duration,
		release: registration.Unregister, label: p.calls.Label,
	}, nil
}

func (i *instruments) ejection(why ejectionReason) {
	i.ejections.Add(context.Background(), 1, metric.WithAttributes(metrics.Reason(why)))
}

func (i *instruments) retry(ctx context.Context, outcome string) {
	i.retries.Add(ctx, 1, metric.WithAttributes(metrics.Outcome(outcome)))
}

func (i *instruments) attempt(ctx context.Context, model string, took time.Duration, v callResult, err error) {
	outcome := "refused"
	switch {
	case err == nil:
		outcome = metrics.OK
	case v == modelFailed:
		outcome = "failed"
	case v == unreachable:
		outcome = "unreachable"
	case v == exchanged:
		outcome = "exchanged"
	case ranOut(ctx, err):
		outcome = "late"
	}
	i.attempts.Add(ctx, 1, metric.WithAttributes(metrics.Outcome(outcome)))
	i.duration.Record(ctx, took.Seconds(), metric.WithAttributes(
		attribute.String("model", i.label(model)), metrics.Outcome(outcome)))
}
