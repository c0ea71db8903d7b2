package telemetry

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// countingProcessor is the SDK's batch processor with its books kept. A span
// that ended is exported, failed (its export was given up), still queued, or
// dropped because the queue was full. The SDK tells nobody of the last, so
// agiqa.spans counts the others: once the queue is empty, what ended and was
// neither exported nor failed was dropped.
type countingProcessor struct {
	sdktrace.SpanProcessor
	ended, exported, failed atomic.Int64
}

func newCountingProcessor(cfg Config, exporter sdktrace.SpanExporter, mp metric.MeterProvider) (*countingProcessor, error) {
	p := &countingProcessor{}
	p.SpanProcessor = sdktrace.NewBatchSpanProcessor(&countingExporter{SpanExporter: exporter, books: p, logger: cfg.Logger},
		sdktrace.WithMaxQueueSize(cfg.QueueSize),
		sdktrace.WithMaxExportBatchSize(cfg.BatchSize),
		sdktrace.WithBatchTimeout(cfg.BatchDelay),
		sdktrace.WithExportTimeout(cfg.ExportTimeout))
	meter := mp.Meter("github.com/agiqa/agiqa/telemetry")
	_, err := meter.Int64ObservableCounter("agiqa.spans", metric.WithUnit("{span}"),
		metric.WithDescription("Spans by what became of them: ended, exported, or failed (their export was given up)."),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			for outcome, n := range map[string]*atomic.Int64{"ended": &p.ended, "exported": &p.exported, "failed": &p.failed} {
				o.Observe(n.Load(), metric.WithAttributes(attribute.String("outcome", outcome)))
			}
			return nil
		}))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.spans: %w", err)
	}
	return p, nil
}

// OnEnd counts and queues a span.
func (p *countingProcessor) OnEnd(s sdktrace.ReadOnlySpan) {
	p.ended.Add(1)
	p.SpanProcessor.OnEnd(s)
}

type countingExporter struct {
	sdktrace.SpanExporter
	books  *countingProcessor
	logger *slog.Logger
	ailing atomic.Bool
}

// report logs what became of the spans when any of them did not arrive.
func (p *countingProcessor) report(ctx context.Context, logger *slog.Logger) {
	ended, exported, failed := p.ended.Load(), p.exported.Load(), p.failed.Load()
	if ended != exported {
		logger.WarnContext(ctx, "not every span was exported", "ended", ended, "exported", exported,
			"failed", failed, "dropped_or_unsent", ended-exported-failed)
	}
}

// ExportSpans passes spans on and notes the outcome; it logs the first failure
// of a spell and its end. It never returns an error: the SDK would only print
// it, for every batch, past the logger.
func (e *countingExporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	if err != nil {
		e.books.failed.Add(int64(len(spans)))
		if !e.ailing.Swap(true) {
			e.logger.WarnContext(ctx, "spans cannot be exported", "error", err)
		}
		return nil
	}
	e.books.exported.Add(int64(len(spans)))
	if e.ailing.Swap(false) {
		e.logger.InfoContext(ctx, "spans are exported again")
	}
	return nil
}
