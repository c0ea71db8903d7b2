package cache

import (
	"context"
	"strings"

	"github.com/redis/go-redis/v9"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.41.0"
	"go.opentelemetry.io/otel/trace"
)

// instrumentation names this package to OpenTelemetry.
const instrumentation = "github.com/agiqa/agiqa/cache"

const hitKey = attribute.Key("agiqa.cache.hit")

// spanHook makes one client span for each command that reaches the driver, by
// the semantic conventions for Redis. It records no key, no value and no text
// of an error reply, which may quote both.
type spanHook struct {
	tracer     trace.Tracer
	attributes []attribute.KeyValue
}

func newSpanHook(provider trace.TracerProvider, o *redis.Options) *spanHook {
	return &spanHook{
		tracer:     provider.Tracer(instrumentation),
		attributes: append(serverAttributes(o), semconv.DBSystemNameRedis),
	}
}

// DialHook implements redis.Hook. A dial is part of the command that waits
// for it.
func (h *spanHook) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook. This package sends no pipelines.
func (h *spanHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook.
func (h *spanHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		operation := strings.ToUpper(cmd.Name())
		ctx, span := h.tracer.Start(ctx, operation,
			trace.WithSpanKind(trace.SpanKindClient),
			trace.WithAttributes(h.attributes...),
			trace.WithAttributes(semconv.DBOperationName(operation)))
		defer span.End()
		err := next(ctx, cmd)
		if err != nil {
			reason := string(ReasonOf(err))
			span.SetStatus(codes.Error, reason)
			span.SetAttributes(semconv.ErrorTypeKey.String(reason))
			if prefix := replyPrefix(err); prefix != "" {
				span.SetAttributes(semconv.DBResponseStatusCode(prefix))
			}
		} else if read, ok := cmd.(*redis.StringCmd); ok && operation == "GETRANGE" {
			span.SetAttributes(hitKey.Bool(read.Val() != ""))
		}
		return err
	}
}
