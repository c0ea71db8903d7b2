package tritonclient

import (
	"context"
	"errors"
	"strings"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

const scope = "github.com/agiqa/agiqa/tritonclient"

// durationBuckets run from a head on a quiet machine (under a millisecond) over a
// batch on a busy one to the whole budget of a request. They are densest from 1
// to 100 ms, where a GPU's answers lie and where an alert about slowness has to
// tell twice the usual from the usual.
var durationBuckets = []float64{.0005, .001, .002, .004, .006, .01, .015, .025, .04, .06, .1, .15, .25, .5, 1, 2.5, 5, 10, 30}

// metrics are what the client counts:
//
//	agiqa.triton.attempts{outcome=ok|failed|unreachable|late|refused}   inferences sent
//	agiqa.triton.duration{model=image_encoder|text_encoder|ensemble|head|panel|_other, outcome}
//	agiqa.triton.retries{outcome=sent|no_budget}                        second attempts, on another server
//	agiqa.triton.ejections{reason=unreachable|late|errors}
//	agiqa.triton.ejected                                                servers that get no work now
//	agiqa.triton.inferences.active, agiqa.triton.inferences.abandoned   not answered yet; of these, without a caller
type metrics struct {
	attempts, retries, ejections metric.Int64Counter
	duration                     metric.Float64Histogram
	release                      func() error
	models                       Models
}

func newMetrics(provider metric.MeterProvider, c *Client) (*metrics, error) {
	if provider == nil {
		provider = noop.NewMeterProvider()
	}
	meter := provider.Meter(scope)
	attempts, err1 := meter.Int64Counter("agiqa.triton.attempts", metric.WithUnit("{attempt}"),
		metric.WithDescription("Inferences sent to a Triton, by outcome; late: the deadline came first."))
	duration, err7 := meter.Float64Histogram("agiqa.triton.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from sending an inference to a Triton to its answer, by sort of model and outcome."),
		metric.WithExplicitBucketBoundaries(durationBuckets...))
	retries, err2 := meter.Int64Counter("agiqa.triton.retries", metric.WithUnit("{attempt}"),
		metric.WithDescription("Inferences that were, or for want of budget were not, sent to a second Triton."))
	ejections, err3 := meter.Int64Counter("agiqa.triton.ejections", metric.WithUnit("{ejection}"),
		metric.WithDescription("Times that a Triton was taken out, by reason."))
	ejected, err4 := meter.Int64ObservableGauge("agiqa.triton.ejected",
		metric.WithDescription("Tritons that get no work at the moment."))
	active, err5 := meter.Int64ObservableGauge("agiqa.triton.inferences.active", metric.WithUnit("{inference}"),
		metric.WithDescription("Inferences that no Triton has answered yet."))
	abandoned, err6 := meter.Int64ObservableGauge("agiqa.triton.inferences.abandoned", metric.WithUnit("{inference}"),
		metric.WithDescription("Inferences under way that no caller waits for any more."))
	if err := errors.Join(err1, err2, err3, err4, err5, err6, err7); err != nil {
		return nil, err
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		out := int64(0)
		for _, r := range c.replicas {
			if is, _ := r.health.isEjected(); is {
				out++
			}
		}
		running, left := c.inFlight.count()
		o.ObserveInt64(ejected, out)
		o.ObserveInt64(active, int64(running))
		o.ObserveInt64(abandoned, int64(left))
		return nil
	}, ejected, active, abandoned)
	if err != nil {
		return nil, err
	}
	return &metrics{
		attempts: attempts, retries: retries, ejections: ejections, duration: duration,
		release: registration.Unregister, models: c.cfg.Models,
	}, nil
}

func (m *metrics) ejection(why ejectionReason) {
	m.ejections.Add(context.Background(), 1, metric.WithAttributes(attribute.String("reason", string(why))))
}

func (m *metrics) retry(ctx context.Context, outcome string) {
	m.retries.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
}

func (m *metrics) attempt(ctx context.Context, model string, took time.Duration, v callResult, err error) {
	outcome := "refused"
	switch {
	case err == nil:
		outcome = "ok"
	case v == modelFailed:
		outcome = "failed"
	case v == unreachable:
		outcome = "unreachable"
	case ranOut(ctx, err):
		outcome = "late"
	}
	m.attempts.Add(ctx, 1, metric.WithAttributes(attribute.String("outcome", outcome)))
	m.duration.Record(ctx, took.Seconds(), metric.WithAttributes(
		attribute.String("model", m.sort(model)), attribute.String("outcome", outcome)))
}

// sort bounds the values of the label model: names of heads are made of digests,
// and there would be more of them with every import.
func (m *metrics) sort(model string) string {
	switch {
	case model == m.models.ImageEncoder:
		return "image_encoder"
	case model == m.models.TextEncoder:
		return "text_encoder"
	case strings.HasPrefix(model, "clip_agiqa_"):
		return "ensemble"
	case strings.HasPrefix(model, "prompt_head_"):
		return "head"
	case strings.HasPrefix(model, "prompt_panel_"):
		return "panel"
	}
	return "_other"
}
