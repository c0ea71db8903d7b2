package cache

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
)

// Layer names a store in metrics and logs.
type Layer string

// The layers.
const (
	LayerMemory Layer = "memory"
	LayerRedis  Layer = "redis"
)

// operation names what was asked of a store.
type operation string

const (
	opRead   operation = "read"
	opWrite  operation = "write"
	opDelete operation = "delete"
)

// result names how a read ended.
type result string

const (
	resultHit     result = "hit"
	resultMiss    result = "miss"
	resultError   result = "error"   // the store could not tell
	resultInvalid result = "invalid" // there was a value, and it failed verification
)

// recorder counts what one cache asks of its layers:
//
//	agiqa.cache.requests{cache=text|image, layer=memory|redis, result=hit|miss|error|invalid}
//	agiqa.cache.errors{cache, layer, operation=read|write|delete, reason}
//
// An invalid value is a request with that result, and an error of reason
// invalid, wrongtype or size.
type recorder struct {
	cache    string
	requests metric.Int64Counter
	errors   metric.Int64Counter
	reads    map[readOutcome]metric.MeasurementOption // made once, since every request counts a read
}

type readOutcome struct {
	layer  Layer
	result result
}

func newRecorder(provider metric.MeterProvider, cache string) (*recorder, error) {
	meter := meterOf(provider)
	requests, err1 := meter.Int64Counter("agiqa.cache.requests",
		metric.WithDescription("Reads of a cache layer by their result."), metric.WithUnit("{request}"))
	faults, err2 := meter.Int64Counter("agiqa.cache.errors",
		metric.WithDescription("Operations on a cache layer that went wrong, by reason."), metric.WithUnit("{error}"))
	reads := make(map[readOutcome]metric.MeasurementOption)
	for _, l := range []Layer{LayerMemory, LayerRedis} {
		for _, res := range []result{resultHit, resultMiss, resultError, resultInvalid} {
			reads[readOutcome{l, res}] = metric.WithAttributeSet(attribute.NewSet(
				attribute.String("cache", cache), attribute.String("layer", string(l)), attribute.String("result", string(res))))
		}
	}
	return &recorder{cache: cache, requests: requests, errors: faults, reads: reads}, errors.Join(err1, err2)
}

func (r *recorder) read(ctx context.Context, l Layer, res result) {
	r.requests.Add(ctx, 1, r.reads[readOutcome{l, res}])
}

func (r *recorder) fault(ctx context.Context, l Layer, op operation, reason Reason) {
	r.errors.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(
		attribute.String("cache", r.cache), attribute.String("layer", string(l)),
		attribute.String("operation", string(op)), attribute.String("reason", string(reason)))))
}

// ObserveMemory shows a store's size to meter under the given cache's name,
// until stop is called:
//
//	agiqa.cache.memory.entries{cache}
//	agiqa.cache.memory.bytes{cache}, agiqa.cache.memory.budget{cache}
//	agiqa.cache.memory.evictions{cache}
func ObserveMemory(provider metric.MeterProvider, cache string, m *Memory) (stop func() error, err error) {
	meter := meterOf(provider)
	entries, err1 := meter.Int64ObservableGauge("agiqa.cache.memory.entries",
		metric.WithDescription("Entries in memory."), metric.WithUnit("{entry}"))
	bytes, err2 := meter.Int64ObservableGauge("agiqa.cache.memory.bytes",
		metric.WithDescription("Keys and values in memory."), metric.WithUnit("By"))
	budget, err3 := meter.Int64ObservableGauge("agiqa.cache.memory.budget",
		metric.WithDescription("What agiqa.cache.memory.bytes is held to."), metric.WithUnit("By"))
	evictions, err4 := meter.Int64ObservableCounter("agiqa.cache.memory.evictions",
		metric.WithDescription("Entries that went to make room or with their time."), metric.WithUnit("{entry}"))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	labels := metric.WithAttributes(attribute.String("cache", cache))
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		s := m.Stats()
		o.ObserveInt64(entries, int64(s.Entries), labels)
		o.ObserveInt64(bytes, s.Bytes, labels)
		o.ObserveInt64(budget, s.Budget, labels)
		o.ObserveInt64(evictions, int64(s.Evictions), labels)
		return nil
	}, entries, bytes, budget, evictions)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}

// observeAvailability shows agiqa.cache.redis.available, 1 or 0.
func observeAvailability(provider metric.MeterProvider, available func() bool) (stop func() error, err error) {
	meter := meterOf(provider)
	gauge, err := meter.Int64ObservableGauge("agiqa.cache.redis.available",
		metric.WithDescription("1 while the Redis cache is being asked, 0 while its circuit breaker is open."))
	if err != nil {
		return nil, err
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		var v int64
		if available() {
			v = 1
		}
		o.ObserveInt64(gauge, v)
		return nil
	}, gauge)
	if err != nil {
		return nil, err
	}
	return registration.Unregister, nil
}

func meterOf(provider metric.MeterProvider) metric.Meter {
	if provider == nil {
		provider = noop.NewMeterProvider()
	}
	return provider.Meter(instrumentation)
}
