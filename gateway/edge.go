package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

const scope = "github.com/agiqa/agiqa/gateway"

// edge is what every request passes first and last: it gives it its ids, its
// server span, its metrics and its one log line.
type edge struct {
	tracer   trace.Tracer
	duration metric.Float64Histogram
	problems metric.Int64Counter
	inflight metric.Int64UpDownCounter
	unparsed metric.Int64Counter
	closed   metric.Int64Counter
	refusals *sampler
	stages   *scoring.Stages
	logger   *slog.Logger
	trusted  []netip.Prefix
	leaving  atomic.Bool // connections end with their next answer
}

func newEdge(
	tp trace.TracerProvider, mp metric.MeterProvider, logger *slog.Logger, trusted []netip.Prefix,
) (*edge, error) {
	meter := mp.Meter(scope)
	duration, err1 := metrics.RequestDuration.New(meter)
	problems, err2 := metrics.Problems.New(meter)
	inflight, err3 := metrics.RequestsActive.New(meter)
	unparsed, err4 := metrics.ConnectionsUnparsed.New(meter)
	closed, err5 := metrics.ConnectionsClosed.New(meter)
	if err := errors.Join(err1, err2, err3, err4, err5); err != nil {
		return nil, err
	}
	stages, err := scoring.NewStages(tp, mp)
	if err != nil {
		return nil, err
	}
	return &edge{
		stages: stages, tracer: tp.Tracer(scope), duration: duration, problems: problems, inflight: inflight,
		unparsed: unparsed, closed: closed, logger: logger,
		refusals: &sampler{logger: logger, kinds: map[quality.Kind]*sample{}}, trusted: trusted,
	}, nil
}

// handle is the outermost middleware. Recovery stands inside it, so that a
// panic has its status by the time the span ends.
func (e *edge) handle(c *gin.Context) {
	start := time.Now()
	client := c.Request.Context() // ends when the client goes away; later ones end with their budget
	handled(client)
	route := c.FullPath()
	if route == "" {
		route = routeUnmatched
	}
	method := knownMethod(c.Request.Method)
	ctx, span := e.startSpan(c, start, method, route)
	defer span.End()
	id := newIDs(c.GetHeader("X-Request-ID"), start, span)
	id.origin = client
	span.SetAttributes(attribute.String("agiqa.request.id", id.Request))
	c.Request = c.Request.WithContext(withIDs(ctx, id))
	identify(c)
	id.body = newArriving(c.Writer, c.Request, &e.leaving)
	if !id.body.ended {
		defer context.AfterFunc(client, func() {
			if interrupted(client) != nil {
				id.body.interrupt()
			}
		})()
	}
	c.Request.Body = id.body
	c.Writer = &watchedWriter{ResponseWriter: c.Writer, ids: id}

	e.inflight.Add(ctx, 1)
	defer func() { // also when a panic cuts the connection
		e.inflight.Add(ctx, -1)
		id.body.settle()
		status := c.Writer.Status()
		if id.abandoned() {
			status = statusClientClosedRequest
		}
		e.finish(ctx, c.Writer.Size(), span, id, method, route, status, time.Since(start))
	}()
	c.Next()
}

// identify sets the headers that every answer has.
func identify(c *gin.Context) {
	id := idsOf(c.Request.Context())
	c.Header("X-Request-ID", id.Request)
	c.Header("X-Trace-ID", id.Trace)
	protect(c.Writer.Header())
}

// startSpan links an incoming trace, or continues that of a trusted peer.
// Unless it is one, the root is ours, and nothing of a stranger's but two ids
// is kept. Whether a trace is recorded is never the caller's choice. Baggage
// is not read from anybody, since nothing here has a use for it.
func (e *edge) startSpan(c *gin.Context, start time.Time, method, route string) (context.Context, trace.Span) {
	ctx := c.Request.Context()
	options := []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindServer),
		trace.WithTimestamp(start),
		trace.WithAttributes(
			attribute.String("http.request.method", method),
			attribute.String("url.path", clip(c.Request.URL.Path, 256)),
			attribute.String("url.scheme", "http"),
			attribute.String("network.protocol.version", fmt.Sprintf("%d.%d", c.Request.ProtoMajor, c.Request.ProtoMinor))),
	}
	remote := propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(c.Request.Header))
	if sc := trace.SpanContextFromContext(remote); sc.IsValid() {
		if e.trusts(c.Request.RemoteAddr) {
			ctx = remote
		} else {
			sc = sc.WithTraceState(trace.TraceState{})
			options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: sc}))
		}
	}
	if route != routeUnmatched {
		options = append(options, trace.WithAttributes(attribute.String("http.route", route)))
	}
	return e.tracer.Start(ctx, spanName(method, route), options...)
}

// trusts goes by the connection's other end: headers can say anything.
func (e *edge) trusts(remote string) bool {
	peer, err := netip.ParseAddrPort(remote)
	return err == nil && within(plainAddress(peer.Addr()), e.trusted)
}

// routeUnmatched is the label route where no route was found.
const routeUnmatched = "unmatched"

// spanName follows the conventions: the method, HTTP where it is unknown, and
// the route where there is one.
func spanName(method, route string) string {
	if method == methodOther {
		method = "HTTP"
	}
	if route == routeUnmatched {
		return method
	}
	return method + " " + route
}

func (e *edge) finish(
	ctx context.Context, size int, span trace.Span, id *ids, method, route string, status int, took time.Duration,
) {
	span.SetAttributes(attribute.Int("http.response.status_code", status))
	level := slog.LevelInfo
	attrs := []slog.Attr{
		slog.String("method", method), slog.String("route", route), slog.Int("status", status),
		slog.Duration("duration", took), slog.Int("bytes", size),
		slog.String("client", id.client), slog.String("request_id", id.Request),
	}
	if id.err != nil {
		kind := quality.KindOf(id.err)
		span.SetAttributes(attribute.String("error.type", string(kind)))
		e.problems.Add(ctx, 1, metric.WithAttributes(metrics.Reason(kind)))
		attrs = append(attrs, slog.String("code", string(kind)), slog.String("error", clip(id.err.Error(), 1024)))
	}
	// An internal error behind a status that was already sent is one too.
	if status >= 500 || id.err != nil && quality.KindOf(id.err) == quality.KindInternal {
		span.SetStatus(codes.Error, http.StatusText(status))
		level = slog.LevelError
	}
	e.duration.Record(ctx, took.Seconds(), metric.WithAttributes(
		attribute.String("method", method), attribute.String("route", route), attribute.Int("status", status)))
	if kind := quality.KindOf(id.err); id.err != nil && refusals[kind] && status != statusClientClosedRequest {
		if level = slog.LevelWarn; !e.refusals.take(kind) {
			return
		}
	}
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
		e.logger.ErrorContext(c.Request.Context(), "panic", "value", clip(fmt.Sprint(v), 1024),
			"stack", string(debug.Stack()))
		err := quality.Errorf(quality.KindInternal, "internal error; the server logged the cause with this request_id").
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
	return methodOther
}

const methodOther = "_OTHER" // as the conventions name a method that they don't know

// clip shortens what a client sent before it becomes an attribute, and keeps
// it UTF-8: one attribute that is not loses the whole batch of spans it is in,
// because protobuf refuses to encode it.
func clip(s string, n int) string {
	if len(s) > n {
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
