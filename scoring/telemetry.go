package scoring

import (
	"context"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
)

// Stage is a part of the work on a request. It names a span, a metric label
// and a key of timing_ms.
type Stage string

// The stages. Stages of one request may overlap, so that their times need not
// add up to the total.
const (
	StageAdmission Stage = "admission" // waiting for a turn
	StagePrepare   Stage = "prepare"   // decode, resize, crop of all images
	StageLookup    Stage = "lookup"    // image embeddings in the cache
	StageTexts     Stage = "texts"     // text embeddings, cached or encoded
	StageEncode    Stage = "encode"    // image encoder alone
	StageEnsemble  Stage = "ensemble"  // encoder and head in one call
	StageJudge     Stage = "judge"     // heads alone
	StagePanel     Stage = "panel"     // several heads in one call
)

const scope = "github.com/agiqa/agiqa/scoring"

// stageBuckets run from a cache hit (tens of microseconds) to a request that
// nearly used up its budget.
var stageBuckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

type telemetry struct {
	tracer trace.Tracer
	stages metric.Float64Histogram
	images metric.Int64Counter
}

func newTelemetry(tp trace.TracerProvider, mp metric.MeterProvider) (*telemetry, error) {
	meter := mp.Meter(scope)
	stages, err := meter.Float64Histogram("agiqa.stage.duration", metric.WithUnit("s"),
		metric.WithDescription("Time that a request spent in one stage of scoring."),
		metric.WithExplicitBucketBoundaries(stageBuckets...))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.stage.duration: %w", err)
	}
	images, err := meter.Int64Counter("agiqa.images", metric.WithUnit("{image}"),
		metric.WithDescription("Images by format and outcome: ok, or the code of the error."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.images: %w", err)
	}
	return &telemetry{tracer: tp.Tracer(scope), stages: stages, images: images}, nil
}

// countImage counts one image. format is one of imageprep's, or empty when it
// was not recognised.
func (t *telemetry) countImage(ctx context.Context, format string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = string(quality.KindOf(err))
	}
	if format == "" {
		format = "unknown"
	}
	t.images.Add(ctx, 1, metric.WithAttributes(attribute.String("format", format), attribute.String("outcome", outcome)))
}

// Timings holds how long each stage took. A stage that ran several times side
// by side counts with its longest run.
type Timings struct {
	mu     sync.Mutex
	stages map[Stage]time.Duration
}

// Stages returns a copy.
func (t *Timings) Stages() map[Stage]time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	out := make(map[Stage]time.Duration, len(t.stages))
	for k, v := range t.stages {
		out[k] = v
	}
	return out
}

func (t *Timings) record(stage Stage, d time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.stages == nil {
		t.stages = map[Stage]time.Duration{}
	}
	t.stages[stage] = max(t.stages[stage], d)
}

// run runs f as a stage: a child span, a duration in the histogram and in the
// timings. An error that is the server's fault marks the span.
func (t *telemetry) run(ctx context.Context, timings *Timings, stage Stage, f func(ctx context.Context, span trace.Span) error) error {
	ctx, span := t.tracer.Start(ctx, string(stage))
	defer span.End()
	start := time.Now()
	err := f(ctx, span)
	d := time.Since(start)
	timings.record(stage, d)
	t.stages.Record(ctx, d.Seconds(), metric.WithAttributes(attribute.String("stage", string(stage))))
	MarkSpan(span, err)
	return err
}

// MarkSpan puts the kind of err on span as error.type, and the status Error
// where the fault is the server's own. A client that went away is no error.
func MarkSpan(span trace.Span, err error) {
	if err == nil {
		return
	}
	kind := quality.KindOf(err)
	span.SetAttributes(attribute.String("error.type", string(kind)))
	switch kind {
	case quality.KindInternal, quality.KindModelBadOutput, quality.KindModelUnavailable, quality.KindStoreUnavailable,
		quality.KindDeadlineExceeded, quality.KindOverloaded, quality.KindDraining:
		span.SetStatus(codes.Error, string(kind))
	}
}
