package scoring

import (
	"context"
	"errors"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/quality"
)

// Stage is a part of the work on a request. It names a span, a metric label
// and a key of timing_ms.
type Stage string

// The stages. Stages of one request may overlap, and one may be a part of
// another, so that their times need not add up to the total.
const (
	StageRead      Stage = "read"      // the body, off the connection
	StageInspect   Stage = "inspect"   // digests, headers and limits of all images
	StageAdmission Stage = "admission" // waiting for a turn
	StagePrepare   Stage = "prepare"   // decode, resize, crop of all images
	StageDecode    Stage = "decode"    // of one image, in prepare
	StageResize    Stage = "resize"    // of one image, in prepare
	StageLookup    Stage = "lookup"    // image embeddings in the cache
	StageFollow    Stage = "follow"    // images that other requests work on already
	StageTexts     Stage = "texts"     // text embeddings, cached or encoded
	StageEncode    Stage = "encode"    // image encoder alone
	StageEnsemble  Stage = "ensemble"  // encoder and head in one call
	StageHead      Stage = "head"      // heads alone
	StagePanel     Stage = "panel"     // several heads in one call
)

const scope = "github.com/agiqa/agiqa/scoring"

// Stages measures stages. One measurement becomes a span, a value in the
// histogram and an entry in the timings, so that the three agree.
type Stages struct {
	tracer    trace.Tracer
	durations metric.Float64Histogram
	labels    map[Stage]metric.MeasurementOption // made once: a request has a dozen stages
}

// stages are those whose labels are made in advance.
var stages = []Stage{
	StageRead, StageInspect, StageAdmission, StagePrepare, StageDecode, StageResize, StageLookup, StageFollow,
	StageTexts, StageEncode, StageEnsemble, StageHead, StagePanel, StageAssign, StageExpose,
}

// NewStages returns a Stages. All of one program share their histogram.
func NewStages(tp trace.TracerProvider, mp metric.MeterProvider) (*Stages, error) {
	durations, err := metrics.StageDuration.New(mp.Meter(scope))
	if err != nil {
		return nil, err
	}
	s := &Stages{tracer: tp.Tracer(scope), durations: durations, labels: map[Stage]metric.MeasurementOption{}}
	for _, stage := range stages {
		s.labels[stage] = label(stage)
	}
	return s, nil
}

func label(stage Stage) metric.MeasurementOption {
	return metric.WithAttributeSet(attribute.NewSet(attribute.String("stage", string(stage))))
}

// Record reports a stage that is over. An error that is the server's fault
// marks the span.
func (s *Stages) Record(
	ctx context.Context, timings *Timings, stage Stage, start, end time.Time, err error, attributes ...attribute.KeyValue,
) {
	ctx, span := s.tracer.Start(ctx, string(stage), trace.WithTimestamp(start), trace.WithAttributes(attributes...))
	s.end(ctx, span, timings, stage, start, end, err)
}

// run runs f as a stage.
func (s *Stages) run(
	ctx context.Context, timings *Timings, stage Stage, f func(ctx context.Context, span trace.Span) error,
) error {
	start := time.Now()
	ctx, span := s.tracer.Start(ctx, string(stage), trace.WithTimestamp(start))
	defer span.End() // where f panics
	err := f(ctx, span)
	s.end(ctx, span, timings, stage, start, time.Now(), err)
	return err
}

func (s *Stages) end(
	ctx context.Context, span trace.Span, timings *Timings, stage Stage, start, end time.Time, err error,
) {
	took := end.Sub(start)
	timings.record(stage, took)
	labels, known := s.labels[stage]
	if !known {
		labels = label(stage)
	}
	s.durations.Record(ctx, took.Seconds(), labels)
	MarkSpan(span, err)
	span.End(trace.WithTimestamp(start.Add(took))) // the monotonic difference
}

type telemetry struct {
	*Stages
	images, coalesced, decoded, encoded metric.Int64Counter
}

func newTelemetry(tp trace.TracerProvider, mp metric.MeterProvider) (*telemetry, error) {
	stages, err := NewStages(tp, mp)
	if err != nil {
		return nil, err
	}
	images, err1 := metrics.Images.New(mp.Meter(scope))
	coalesced, err2 := metrics.ImagesCoalesced.New(mp.Meter(scope))
	decoded, err3 := metrics.ImagesDecoded.New(mp.Meter(scope))
	encoded, err4 := metrics.RowsEncoded.New(mp.Meter(scope))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	return &telemetry{Stages: stages, images: images, coalesced: coalesced, decoded: decoded, encoded: encoded}, nil
}

// countDecoded counts an image by what decoded it: "go", or a library and its
// version, which is left aside.
func (t *telemetry) countDecoded(ctx context.Context, format, decoder string) {
	library, _, _ := strings.Cut(decoder, " ")
	t.decoded.Add(ctx, 1, metric.WithAttributes(
		attribute.String("format", format), attribute.String("decoder", library)))
}

// countEncoded counts rows that the encoder embedded, by the size of their view.
func (t *telemetry) countEncoded(ctx context.Context, rows []prepared) {
	bySize := map[int]int64{}
	for _, r := range rows {
		bySize[r.view.Size()]++
	}
	for size, n := range bySize {
		t.encoded.Add(ctx, n, metric.WithAttributes(attribute.String("size", strconv.Itoa(size))))
	}
}

// countImage counts one image. format is one of imageprep's, or empty when it
// was not recognised.
func (t *telemetry) countImage(ctx context.Context, format string, err error) {
	if format == "" {
		format = "unknown"
	}
	t.images.Add(ctx, 1, metric.WithAttributes(attribute.String("format", format), metrics.OutcomeOf(err)))
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
	return maps.Clone(t.stages)
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
