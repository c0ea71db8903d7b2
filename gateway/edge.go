package gateway

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
)

const scope = "github.com/agiqa/agiqa/gateway"

// edge is what every request passes first and last: it gives it its ids, its
// server span, its metrics and its one log line.
type edge struct {
	tracer   trace.Tracer
	duration metric.Float64Histogram
	problems metric.Int64Counter
	inflight metric.Int64UpDownCounter
	logger   *slog.Logger
	trust    bool
}

var requestBuckets = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30}

func newEdge(tp trace.TracerProvider, mp metric.MeterProvider, logger *slog.Logger, trust bool) (*edge, error) {
	meter := mp.Meter(scope)
	duration, err := meter.Float64Histogram("agiqa.request.duration", metric.WithUnit("s"),
		metric.WithDescription("Time from the first byte of a request to the end of its answer."),
		metric.WithExplicitBucketBoundaries(requestBuckets...))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.request.duration: %w", err)
	}
	problems, err := meter.Int64Counter("agiqa.problems", metric.WithUnit("{problem}"),
		metric.WithDescription("Requests answered with a problem, by its code."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.problems: %w", err)
	}
	inflight, err := meter.Int64UpDownCounter("agiqa.requests.active", metric.WithUnit("{request}"),
		metric.WithDescription("Requests being handled."))
	if err != nil {
		return nil, fmt.Errorf("instrument agiqa.requests.active: %w", err)
	}
	return &edge{tracer: tp.Tracer(scope), duration: duration, problems: problems, inflight: inflight, logger: logger, trust: trust}, nil
}

// handle is the outermost middleware. Recovery stands inside it, so that a
// panic has its status by the time the span ends.
func (e *edge) handle(c *gin.Context) {
	start := time.Now()
	client := c.Request.Context() // ends when the client goes away; later ones end with their budget
	route := c.FullPath()
	if route == "" {
		route = "unmatched"
	}
	method := knownMethod(c.Request.Method)
	ctx, span := e.startSpan(c, method, route)
	defer span.End()
	id := &ids{Request: requestID(c.GetHeader("X-Request-ID"))}
	if sc := span.SpanContext(); sc.HasTraceID() {
		id.Trace = sc.TraceID().String()
	}
	c.Header("X-Request-ID", id.Request)
	c.Header("X-Trace-ID", id.Trace)
	c.Header("X-Content-Type-Options", "nosniff")
	span.SetAttributes(attribute.String("agiqa.request.id", id.Request))
	c.Request = c.Request.WithContext(withIDs(ctx, id))
	c.Writer = &watchedWriter{ResponseWriter: c.Writer, ids: id}

	e.inflight.Add(ctx, 1)
	defer func() { // also when a panic cuts the connection
		e.inflight.Add(ctx, -1)
		status := c.Writer.Status()
		if client.Err() != nil && id.err != nil {
			status = statusClientClosedRequest
		}
		e.finish(ctx, c, span, id, method, route, status, time.Since(start))
	}()
	c.Next()
}

// startSpan links an incoming trace, or continues it when callers are trusted.
// Unless they are, the root is ours: an unsampled or invented traceparent
// cannot switch tracing off.
func (e *edge) startSpan(c *gin.Context, method, route string) (context.Context, trace.Span) {
	ctx := c.Request.Context()
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithAttributes(
			attribute.String("http.request.method", method),
			attribute.String("http.route", route),
			attribute.String("url.path", clip(c.Request.URL.Path, 256)),
			attribute.String("url.scheme", "http"),
			attribute.String("network.protocol.version", fmt.Sprintf("%d.%d", c.Request.ProtoMajor, c.Request.ProtoMinor))),
	}
	remote := propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(c.Request.Header))
	if sc := trace.SpanContextFromContext(remote); sc.IsValid() {
		if e.trust {
			ctx = remote
		} else {
			options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: sc}))
		}
	}
	return e.tracer.Start(ctx, method+" "+route, options...)
}

func (e *edge) finish(ctx context.Context, c *gin.Context, span trace.Span, id *ids, method, route string, status int, took time.Duration) {
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("method", method), slog.String("route", route), slog.Int("status", status),
		slog.Duration("duration", took), slog.Int("bytes", c.Writer.Size()),
		slog.String("request_id", id.Request),
	}
	if id.err != nil {
		kind := quality.KindOf(id.err)
		span.SetAttributes(attribute.String("error.type", string(kind)))
		e.problems.Add(ctx, 1, metric.WithAttributes(attribute.String("code", string(kind))))
		attrs = append(attrs, slog.String("code", string(kind)), slog.String("error", clip(id.err.Error(), 1024)))
	}
	// An internal error behind a status that was already sent is one too.
	if status >= 500 || id.err != nil && quality.KindOf(id.err) == quality.KindInternal {
		span.SetStatus(codes.Error, http.StatusText(status))
		level = slog.LevelError
	}
	e.duration.Record(ctx, took.Seconds(), metric.WithAttributes(
		attribute.String("method", method), attribute.String("route", route), attribute.Int("status", status)))
	e.logger.LogAttrs(ctx, level, "request", attrs...)
}

// recoverPanics turns a panic into an internal error of this one request. The
// value may be anything, an error or not; http.ErrAbortHandler keeps its
// meaning. Where an answer has begun, nothing but a cut connection can tell
// the client that it is not whole.
func (e *edge) recoverPanics(c *gin.Context) {
	defer func() {
		v := recover()
		if v == nil {
			return
		}
		if v == http.ErrAbortHandler {
			panic(v)
		}
		if idsOf(c.Request.Context()).writeErr != nil { // huma panics when it cannot write
			panic(http.ErrAbortHandler)
		}
		e.logger.ErrorContext(c.Request.Context(), "panic", "value", clip(fmt.Sprint(v), 1024), "stack", string(debug.Stack()))
		err := quality.Errorf(quality.KindInternal, "an unexpected error; the log has it under this request id").
			Because(fmt.Errorf("panic: %v", v))
		if c.Writer.Written() {
			idsOf(c.Request.Context()).fail(err)
			panic(http.ErrAbortHandler)
		}
		abort(c, err)
	}()
	c.Next()
}

// knownMethod keeps the number of label values finite.
func knownMethod(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch,
		http.MethodDelete, http.MethodOptions, http.MethodConnect, http.MethodTrace:
		return m
	}
	return "_OTHER"
}

// clip shortens what a client sent before it becomes an attribute, and keeps
// it UTF-8: one attribute that is not loses the whole batch of spans it is in,
// because protobuf refuses to encode it.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
