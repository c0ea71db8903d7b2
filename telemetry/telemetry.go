package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprom "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Config says what is sent where.
type Config struct {
	Endpoint       string        // OTLP/HTTP base URL; empty: spans are made, for their ids, and go nowhere
	ServiceVersion string        // service.version
	QueueSize      int           // spans that may wait for export
	BatchSize      int           // spans in one export
	BatchDelay     time.Duration // longest wait of a span for its batch
	ExportTimeout  time.Duration // of a batch, until it is given up
	SampleRatio    float64       // share of traces that is recorded: above 0, at most 1
	ShutdownLimit  time.Duration // Close takes no longer
	Logger         *slog.Logger  // the start and end of each outage of exporting
}

// DefaultConfig holds a burst of 65,536 spans: with the SDK's default of 2,048
// most of a burst of 20,000 was lost when it was measured.
func DefaultConfig() Config {
	return Config{
		QueueSize: 1 << 16, BatchSize: 2048, BatchDelay: time.Second,
		ExportTimeout: 10 * time.Second, ShutdownLimit: 5 * time.Second, SampleRatio: 1,
		Logger: slog.New(slog.DiscardHandler),
	}
}

// Validate reports every field that cannot be right.
func (c Config) Validate() error {
	var faults []error
	if c.Endpoint != "" {
		if u, err := url.Parse(c.Endpoint); err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
			faults = append(faults, errors.New("telemetry: Endpoint is not an http or https URL"))
		}
	}
	if c.QueueSize <= 0 || c.BatchSize <= 0 || c.BatchSize > c.QueueSize {
		faults = append(faults, fmt.Errorf("telemetry: BatchSize %d and QueueSize %d must be positive, and the batch no "+
			"larger than the queue", c.BatchSize, c.QueueSize))
	}
	if c.BatchDelay <= 0 || c.ExportTimeout <= 0 || c.ShutdownLimit <= 0 {
		faults = append(faults, errors.New("telemetry: BatchDelay, ExportTimeout and ShutdownLimit must be positive"))
	}
	if !(c.SampleRatio > 0 && c.SampleRatio <= 1) {
		faults = append(faults, fmt.Errorf("telemetry: SampleRatio must be above 0 and at most 1, is %v", c.SampleRatio))
	}
	if c.Logger == nil {
		faults = append(faults, errors.New("telemetry: Logger is missing"))
	}
	return errors.Join(faults...)
}

// Telemetry holds the providers.
type Telemetry struct {
	traces   *sdktrace.TracerProvider
	metrics  *sdkmetric.MeterProvider
	registry *prometheus.Registry
	spans    *queue // nil: spans go nowhere
	logger   *slog.Logger
	limit    time.Duration
}

// New sets everything up. It never waits for a collector. An exporter that is
// given (by a test) is used instead of the one that Endpoint describes.
func New(ctx context.Context, cfg Config, exporter sdktrace.SpanExporter) (*Telemetry, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	res := describe(ctx, cfg)
	registry := prometheus.NewRegistry()
	// Memory, processor time and open files, as the system sees them.
	if err := registry.Register(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})); err != nil {
		return nil, fmt.Errorf("process metrics: %w", err)
	}
	// The runtime's producer adds how long goroutines waited for a processor.
	reader, err := otelprom.New(otelprom.WithRegisterer(registry), otelprom.WithoutScopeInfo(),
		otelprom.WithProducer(runtime.NewProducer()))
	if err != nil {
		return nil, fmt.Errorf("prometheus exporter: %w", err)
	}
	metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(res))
	if err := runtime.Start(runtime.WithMeterProvider(metrics)); err != nil {
		return nil, fmt.Errorf("runtime metrics: %w", err)
	}
	if exporter == nil && cfg.Endpoint != "" {
		if exporter, err = otlp(ctx, cfg); err != nil {
			return nil, err
		}
	}
	options := []sdktrace.TracerProviderOption{
		sdktrace.WithResource(res), sdktrace.WithSampler(sampler(cfg.SampleRatio)), sdktrace.WithRawSpanLimits(spanLimits()),
	}
	t := &Telemetry{metrics: metrics, registry: registry, logger: cfg.Logger, limit: cfg.ShutdownLimit}
	if exporter != nil {
		if t.spans, err = newQueue(cfg, exporter, metrics); err != nil {
			return nil, err
		}
		options = append(options, sdktrace.WithSpanProcessor(t.spans))
	}
	t.traces = sdktrace.NewTracerProvider(options...)
	return t, nil
}

// describe returns the resource of spans and metrics. OTEL_SERVICE_NAME and
// OTEL_RESOURCE_ATTRIBUTES take precedence over our own attributes.
func describe(ctx context.Context, cfg Config) *resource.Resource {
	res, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", "agiqa"),
		attribute.String("service.version", cfg.ServiceVersion),
	), resource.WithFromEnv())
	if err != nil { // the attributes that could be read are in the resource
		cfg.Logger.WarnContext(ctx, "OTEL_RESOURCE_ATTRIBUTES is invalid in part", "error", err)
	}
	return res
}

// sampler decides by the trace id alone, so that every program that uses the
// same share keeps the same traces. What a remote parent decided is not asked:
// no caller can switch tracing off.
func sampler(ratio float64) sdktrace.Sampler {
	share := sdktrace.TraceIDRatioBased(ratio)
	return sdktrace.ParentBased(share, sdktrace.WithRemoteParentSampled(share), sdktrace.WithRemoteParentNotSampled(share))
}

// MaxAttributeBytes is the longest text that an attribute of a span may have;
// what is longer is cut.
const MaxAttributeBytes = 1024

func spanLimits() sdktrace.SpanLimits {
	limits := sdktrace.NewSpanLimits()
	limits.AttributeValueLengthLimit = MaxAttributeBytes
	limits.AttributeCountLimit, limits.EventCountLimit, limits.LinkCountLimit = 64, 64, 16
	limits.AttributePerEventCountLimit, limits.AttributePerLinkCountLimit = 16, 16
	return limits
}

// compression is for the network. To a collector on this machine it would only
// cost the processor time that requests want.
func compression(endpoint string) otlptracehttp.Compression {
	if u, err := url.Parse(endpoint); err == nil {
		if ip := net.ParseIP(u.Hostname()); ip.IsLoopback() || u.Hostname() == "localhost" {
			return otlptracehttp.NoCompression
		}
	}
	return otlptracehttp.GzipCompression
}

func otlp(ctx context.Context, cfg Config) (sdktrace.SpanExporter, error) {
	endpoint, err := url.JoinPath(cfg.Endpoint, "v1", "traces")
	if err != nil {
		return nil, fmt.Errorf("telemetry: Endpoint: %w", err)
	}
	exporter, err := otlptracehttp.New(ctx,
		otlptracehttp.WithEndpointURL(endpoint),
		otlptracehttp.WithTimeout(cfg.ExportTimeout/2),       // of one attempt
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{}), // the queue does that
		otlptracehttp.WithCompression(compression(endpoint)))
	if err != nil {
		return nil, fmt.Errorf("otlp exporter: %w", err)
	}
	return exporter, nil
}

// Tracer returns the tracer provider.
func (t *Telemetry) Tracer() *sdktrace.TracerProvider { return t.traces }

// Meter returns the meter provider.
func (t *Telemetry) Meter() *sdkmetric.MeterProvider { return t.metrics }

// MetricsHandler serves the metrics in Prometheus' formats.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{Registry: t.registry, EnableOpenMetrics: true})
}

// Close exports what is queued and stops, within Config.ShutdownLimit. A
// collector that does not take everything in that time is no error, since a
// program that stops because it was told to has nothing else to do about it:
// the log says how many spans are missing.
func (t *Telemetry) Close(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, t.limit)
	defer cancel()
	err := t.traces.Shutdown(limited)
	if t.spans != nil {
		t.spans.report(ctx, t.logger)
	}
	if err != nil && limited.Err() != nil {
		err = nil
	}
	return errors.Join(err, t.metrics.Shutdown(context.WithoutCancel(ctx)))
}
