package cache

import (
	"context"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/agiqa/agiqa/internal/metrics"
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

// readOutcome names how a read ended.
type readOutcome string

const (
	readHit     readOutcome = "hit"
	readMiss    readOutcome = "miss"
	readError   readOutcome = "error"   // the store could not tell
	readInvalid readOutcome = "invalid" // there was a value, and it failed verification
)

// recorder counts what one cache asks of its layers, as [metrics.CacheRequests]
// and [metrics.CacheErrors]. An invalid value is a request with that outcome, and
// an error of reason invalid, wrongtype or size.
type recorder struct {
	cache    string
	requests metric.Int64Counter
	errors   metric.Int64Counter
	reads    map[readKey]metric.MeasurementOption // made once, since every request counts a read
}

type readKey struct {
	layer   Layer
	outcome readOutcome
}

func newRecorder(provider metric.MeterProvider, cache string) (*recorder, error) {
	meter := meterOf(provider)
	requests, err1 := metrics.CacheRequests.New(meter)
	faults, err2 := metrics.CacheErrors.New(meter)
	reads := make(map[readKey]metric.MeasurementOption)
	for _, l := range []Layer{LayerMemory, LayerRedis} {
		for _, how := range []readOutcome{readHit, readMiss, readError, readInvalid} {
			reads[readKey{l, how}] = metric.WithAttributeSet(attribute.NewSet(
				attribute.String("cache", cache), attribute.String("layer", string(l)), metrics.Outcome(how)))
		}
	}
	return &recorder{cache: cache, requests: requests, errors: faults, reads: reads}, errors.Join(err1, err2)
}

func (r *recorder) read(ctx context.Context, l Layer, how readOutcome) {
	r.requests.Add(ctx, 1, r.reads[readKey{l, how}])
}

func (r *recorder) fault(ctx context.Context, l Layer, op operation, reason Reason) {
	r.errors.Add(ctx, 1, metric.WithAttributeSet(attribute.NewSet(
		attribute.String("cache", r.cache), attribute.String("layer", string(l)),
		attribute.String("operation", string(op)), metrics.Reason(reason))))
}

// ObserveMemory reports a store's size to meter under the given cache's name, as
// [metrics.CacheMemoryBytes] and its neighbours, until stop is called.
func ObserveMemory(provider metric.MeterProvider, cache string, m *Memory) (stop func() error, err error) {
	meter := meterOf(provider)
	entries, err1 := metrics.CacheMemoryEntries.New(meter)
	bytes, err2 := metrics.CacheMemoryBytes.New(meter)
	budget, err3 := metrics.CacheMemoryBudget.New(meter)
	evictions, err4 := metrics.CacheMemoryEvictions.New(meter)
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

// observeAvailability reports [metrics.CacheRedisAvailable], 1 or 0.
func observeAvailability(provider metric.MeterProvider, available func() bool) (stop func() error, err error) {
	meter := meterOf(provider)
	gauge, err := metrics.CacheRedisAvailable.New(meter)
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
