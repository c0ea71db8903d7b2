package telemetry

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/agiqa/agiqa/internal/metrics"
)

// queue is a span processor that accounts for every span. Ending a span takes a
// lock and a slot in a ring: it never waits for an exporter. One goroutine
// exports the ring in batches. At every moment
//
//	ended = exported + failed + dropped + queued
//
// where failed are spans whose export failed, dropped those that found the ring
// full, and queued those that wait or are being exported. The SDK's own processor
// doesn't report what it drops.
type queue struct {
	cfg      Config
	exporter sdktrace.SpanExporter

	mu     sync.Mutex
	ring   []sdktrace.ReadOnlySpan
	head   int // of the oldest
	length int
	counts spanCounts
	closed bool

	full     chan struct{}      // a batch is ready
	flushing chan chan struct{} // closed by the worker when all queued spans are exported
	stopping chan struct{}      // closed: empty the ring and end
	stopped  chan struct{}      // closed by the worker
	stop     sync.Once
	abandon  context.CancelFunc // cancels the export in progress
}

// spanCounts counts spans by what became of them.
type spanCounts struct{ ended, exported, failed, dropped, queued int64 }

func newQueue(cfg Config, exporter sdktrace.SpanExporter, mp metric.MeterProvider) (*queue, error) {
	q := &queue{
		cfg: cfg, exporter: exporter, ring: make([]sdktrace.ReadOnlySpan, cfg.QueueSize),
		full: make(chan struct{}, 1), flushing: make(chan chan struct{}),
		stopping: make(chan struct{}), stopped: make(chan struct{}),
	}
	if err := q.observe(mp); err != nil {
		return nil, err
	}
	var ctx context.Context
	ctx, q.abandon = context.WithCancel(context.Background())
	go q.work(ctx)
	return q, nil
}

func (q *queue) observe(mp metric.MeterProvider) error {
	meter := mp.Meter("github.com/agiqa/agiqa/telemetry")
	spans, err1 := metrics.Spans.New(meter)
	queued, err2 := metrics.SpansQueued.New(meter)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		b := q.read()
		for outcome, n := range map[string]int64{
			"ended": b.ended, "exported": b.exported, "failed": b.failed, "dropped": b.dropped,
		} {
			o.ObserveInt64(spans, n, metric.WithAttributes(metrics.Outcome(outcome)))
		}
		o.ObserveInt64(queued, b.queued)
		return nil
	}, spans, queued)
	return err
}

func (q *queue) read() spanCounts {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.counts
}

// OnStart implements [sdktrace.SpanProcessor].
func (q *queue) OnStart(context.Context, sdktrace.ReadWriteSpan) {}

// OnEnd queues a span, or counts it as dropped.
func (q *queue) OnEnd(s sdktrace.ReadOnlySpan) {
	if !s.SpanContext().IsSampled() {
		return
	}
	q.mu.Lock()
	q.counts.ended++
	if q.closed || q.length == len(q.ring) {
		q.counts.dropped++
		q.mu.Unlock()
		return
	}
	q.ring[(q.head+q.length)%len(q.ring)] = s
	q.length++
	q.counts.queued++
	ready := q.length >= q.cfg.BatchSize
	q.mu.Unlock()
	if ready {
		select {
		case q.full <- struct{}{}:
		default:
		}
	}
}

// work is the worker. Its context ends when the time for closing is up.
func (q *queue) work(ctx context.Context) {
	defer close(q.stopped)
	ticker := time.NewTicker(q.cfg.BatchDelay)
	defer ticker.Stop()
	outage := &outage{logger: q.cfg.Logger}
	for {
		select {
		case <-ticker.C:
			q.export(ctx, outage, q.read().queued)
		case <-q.full:
			queued := q.read().queued
			q.export(ctx, outage, queued-queued%int64(q.cfg.BatchSize))
		case done := <-q.flushing:
			q.export(ctx, outage, q.read().queued)
			close(done)
		case <-q.stopping:
			for q.export(ctx, outage, q.read().queued) {
			}
			return
		}
	}
}

// export sends the oldest n spans, batch by batch. It reports whether there
// was one.
func (q *queue) export(ctx context.Context, outage *outage, n int64) bool {
	batch := make([]sdktrace.ReadOnlySpan, 0, min(n, int64(q.cfg.BatchSize)))
	sent := int64(0)
	for sent < n {
		batch = q.take(batch[:0], min(n-sent, int64(q.cfg.BatchSize)))
		if len(batch) == 0 {
			break
		}
		err := q.send(ctx, batch)
		outage.record(ctx, err)
		q.settle(int64(len(batch)), err)
		sent += int64(len(batch))
	}
	return sent > 0
}

// take moves up to n spans from the ring to batch.
func (q *queue) take(batch []sdktrace.ReadOnlySpan, n int64) []sdktrace.ReadOnlySpan {
	q.mu.Lock()
	defer q.mu.Unlock()
	for ; n > 0 && q.length > 0; n-- {
		batch = append(batch, q.ring[q.head])
		q.ring[q.head] = nil
		q.head = (q.head + 1) % len(q.ring)
		q.length--
	}
	return batch
}

func (q *queue) settle(n int64, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.counts.queued -= n
	if err != nil {
		q.counts.failed += n
	} else {
		q.counts.exported += n
	}
}

// send exports a batch. A collector that is being restarted is asked again
// until ExportTimeout is over. A batch whose answer was lost may so arrive
// twice, under the same ids.
func (q *queue) send(ctx context.Context, batch []sdktrace.ReadOnlySpan) error {
	ctx, cancel := context.WithTimeout(ctx, q.cfg.ExportTimeout)
	defer cancel()
	pause := 100 * time.Millisecond
	for {
		err := q.exporter.ExportSpans(ctx, batch)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(pause):
			pause = min(2*pause, 2*time.Second)
		case <-q.stopping:
			return err
		}
	}
}

// ForceFlush exports what has ended by now. It implements
// [sdktrace.SpanProcessor].
func (q *queue) ForceFlush(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case q.flushing <- done:
	case <-q.stopped:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Shutdown exports what is queued. When ctx ends first, it cancels the
// export in progress and counts the rest as failed. It implements
// [sdktrace.SpanProcessor].
func (q *queue) Shutdown(ctx context.Context) error {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.stop.Do(func() { close(q.stopping) })
	defer q.abandon()
	select {
	case <-q.stopped:
		return q.exporter.Shutdown(ctx)
	case <-ctx.Done():
		q.abandon()
		select {
		case <-q.stopped: // at once, but for an exporter that heeds no context
		case <-time.After(time.Second):
		}
		return errors.Join(ctx.Err(), q.exporter.Shutdown(ctx))
	}
}

// report logs what became of the spans when any of them did not arrive.
func (q *queue) report(ctx context.Context, logger *slog.Logger) {
	if b := q.read(); b.ended != b.exported {
		logger.WarnContext(ctx, "some spans were not exported", "ended", b.ended, "exported", b.exported,
			"failed", b.failed, "dropped", b.dropped)
	}
}

// outage logs when exports begin to fail and when they succeed again.
type outage struct {
	logger *slog.Logger
	active bool
}

func (o *outage) record(ctx context.Context, err error) {
	switch {
	case err != nil && !o.active:
		o.logger.WarnContext(ctx, "exporting spans fails", "error", err)
	case err == nil && o.active:
		o.logger.InfoContext(ctx, "exporting spans works again")
	}
	o.active = err != nil
}
