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

// The stages. Stages of one request may overlap, and one may be a part of
// another, so that their times need not add up to the total.
const (
	StageRead      Stage = "read"      // the body, off the connection
	StageSniff     Stage = "sniff"     // digests, headers and limits of all images
	StageAdmission Stage = "admission" // waiting for a turn
	StagePrepare   Stage = "prepare"   // decode, resize, crop of all images
	StageDecode    Stage = "decode"    // of one image, in prepare
	StageResize    Stage = "resize"    // of one image, in prepare
	StageLookup    Stage = "lookup"    // image embeddings in the cache
	StageFollow    Stage = "follow"    // images that other requests work on already
	StageTexts     Stage = "texts"     // text embeddings, cached or encoded
	StageEncode    Stage = "encode"    // image encoder alone
	StageEnsemble  Stage = "ensemble"  // encoder and head in one call
	StageJudge     Stage = "judge"     // heads alone
	StagePanel     Stage = "panel"     // several heads in one call
)

// Names of spans that the handling of an experiment makes.
const (
	SpanAssign = "experiment.assign"
	SpanExpose = "experiment.expose"
)

const scope = "github.com/agiqa/agiqa/scoring"

// stageBuckets run from a cache hit (tens of microseconds) to a request that
// nearly used up its budget.
var stageBuckets = []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

// Stages measures stages. One measurement becomes a span, a value in the
// histogram and an entry in the timings, so that the three agree.
type Stages struct {
	tracer    trace.Tracer
	durations metric.Float64Histogram
}

// NewStages returns a Stages. All of one program share their histogram.
func NewStages(tp trace.TracerProvider, mp metric.MeterProvider) (*Stages, error) {
	durations, err := mp.Meter(scope).Float64Histogram("agiqa.stage.duration", metric.WithUnit("s"),
		metric.WithDescription("Time that a request spent in one stage of scoring."),
		metric.WithExplicitBucketBoundaries(stageBuckets...))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.stage.duration: %w", err)
	}
	return &Stages{tracer: tp.Tracer(scope), durations: durations}, nil
}

// Record reports a stage that is over. An error that is the server's fault
// marks the span.
func (s *Stages) Record(ctx context.Context, timings *Timings, stage Stage, start, end time.Time, err error, attributes ...attribute.KeyValue) {
	ctx, span := s.tracer.Start(ctx, string(stage), trace.WithTimestamp(start), trace.WithAttributes(attributes...))
	s.end(ctx, span, timings, stage, start, end, err)
}

// run runs f as a stage.
func (s *Stages) run(ctx context.Context, timings *Timings, stage Stage, f func(ctx context.Context, span trace.Span) error) error {
	start := time.Now()
	ctx, span := s.tracer.Start(ctx, string(stage), trace.WithTimestamp(start))
	defer span.End() // where f panics
	err := f(ctx, span)
	s.end(ctx, span, timings, stage, start, time.Now(), err)
	return err
}

func (s *Stages) end(ctx context.Context, span trace.Span, timings *Timings, stage Stage, start, end time.Time, err error) {
	took := end.Sub(start)
	timings.record(stage, took)
	s.durations.Record(ctx, took.Seconds(), metric.WithAttributes(attribute.String("stage", string(stage))))
	MarkSpan(span, err)
	span.End(trace.WithTimestamp(start.Add(took))) // the monotonic difference
}

type telemetry struct {
	*Stages
	images, coalesced metric.Int64Counter
}

func newTelemetry(tp trace.TracerProvider, mp metric.MeterProvider) (*telemetry, error) {
	stages, err := NewStages(tp, mp)
	if err != nil {
		return nil, err
	}
	images, err := mp.Meter(scope).Int64Counter("agiqa.images", metric.WithUnit("{image}"),
		metric.WithDescription("Images by format and outcome: ok, or the code of the error."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.images: %w", err)
	}
	coalesced, err := mp.Meter(scope).Int64Counter("agiqa.images.coalesced", metric.WithUnit("{image}"),
		metric.WithDescription("Images that took the embedding of an equal image in another request under way."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.images.coalesced: %w", err)
	}
	return &telemetry{Stages: stages, images: images, coalesced: coalesced}, nil
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
