package cache_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	oteltrace "go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/cachetest"
	"github.com/agiqa/agiqa/cache/redistest"
)

func newTracer(t *testing.T) (*tracetest.InMemoryExporter, *trace.TracerProvider) {
	t.Helper()
	exporter := tracetest.NewInMemoryExporter()
	provider := trace.NewTracerProvider(trace.WithSyncer(exporter))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return exporter, provider
}

// spansNamed returns the spans of a name, with their attributes as text.
func spansNamed(exporter *tracetest.InMemoryExporter,
	name string) (spans []tracetest.SpanStub, attributes []map[string]string) {
	for _, s := range exporter.GetSpans() {
		if s.Name != name {
			continue
		}
		a := map[string]string{}
		for _, kv := range s.Attributes {
			a[string(kv.Key)] = kv.Value.String()
		}
		spans, attributes = append(spans, s), append(attributes, a)
	}
	return spans, attributes
}

func TestRedisSpans(t *testing.T) {
	const key, value = "secret-key", "secret-value"
	server := redistest.Start(t)
	host, port, _ := strings.Cut(server.Addr(), ":")
	for _, test := range []struct {
		name, span string
		do         func(context.Context, *cache.Redis)
		extra      map[string]string
		failed     bool
	}{
		{"a write", "SET", func(ctx context.Context, r *cache.Redis) { _ = r.Set(ctx, key, []byte(value), time.Hour) },
			nil, false},
		{"a hit", "GETRANGE", func(ctx context.Context, r *cache.Redis) { _, _ = r.Get(ctx, key) },
			map[string]string{"agiqa.cache.hit": "true"}, false},
		{"a miss", "GETRANGE", func(ctx context.Context, r *cache.Redis) { _, _ = r.Get(ctx, "absent") },
			map[string]string{"agiqa.cache.hit": "false"}, false},
		{"an error reply", "GETRANGE", func(ctx context.Context, r *cache.Redis) { _, _ = r.Get(ctx, "list") },
			map[string]string{"error.type": "wrongtype", "db.response.status_code": "WRONGTYPE"}, true},
		{"a delete", "UNLINK", func(ctx context.Context, r *cache.Redis) { _ = r.Delete(ctx, key) },
			nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			server.Do("FLUSHALL")
			server.Do("LPUSH", "list", "x")
			server.Do("SET", key, value)
			exporter, provider := newTracer(t)
			r := newRedis(t, server.URL(), func(c *cache.RedisConfig) { c.Tracer = provider })
			ctx, parent := provider.Tracer("test").Start(t.Context(), "request")
			test.do(ctx, r)
			parent.End()

			spans, attributes := spansNamed(exporter, test.span)
			if len(spans) != 1 {
				t.Fatalf("%d spans named %s, want 1", len(spans), test.span)
			}
			want := map[string]string{
				"db.system.name": "redis", "db.operation.name": test.span,
				"server.address": host, "server.port": port,
			}
			for k, v := range test.extra {
				want[k] = v
			}
			if diff := cmp.Diff(want, attributes[0]); diff != "" {
				t.Errorf("attributes (-want +got):\n%s", diff)
			}
			if got := spans[0].SpanKind; got != oteltrace.SpanKindClient {
				t.Errorf("kind = %v, want client", got)
			}
			if got := spans[0].Parent.SpanID(); got != parent.SpanContext().SpanID() {
				t.Error("the span is not the request's child")
			}
			if got := spans[0].Status.Code == codes.Error; got != test.failed {
				t.Errorf("status = %+v, want error = %t", spans[0].Status, test.failed)
			}
			wantNoSecret(t, exporter, key, value, "list")
		})
	}
}

func TestRedisSpanOfATransportFailure(t *testing.T) {
	server := redistest.New(t)
	exporter, provider := newTracer(t)
	r := newRedis(t, server.URL(), func(c *cache.RedisConfig) { c.Tracer = provider })
	openBreaker(t, r, cache.ReasonRefused)
	spans, attributes := spansNamed(exporter, "GETRANGE")
	if want := cache.DefaultRedisConfig().BreakerFailures; len(spans) != want {
		t.Fatalf("%d spans, want %d: none for what was not sent", len(spans), want)
	}
	if got := attributes[0]["error.type"]; got != "refused" {
		t.Errorf("error.type = %q, want refused", got)
	}
	if got, ok := attributes[0]["db.response.status_code"]; ok {
		t.Errorf("db.response.status_code = %q without a response", got)
	}
	if spans[0].Status.Code != codes.Error || spans[0].Status.Description != "refused" {
		t.Errorf("status = %+v, want error refused", spans[0].Status)
	}
}

// TestRedisSpansQuoteNoArguments covers the reply of a server that does not
// know a command: it quotes the command's arguments.
func TestRedisSpansQuoteNoArguments(t *testing.T) {
	const key, value = "secret-key", "secret-value"
	server := redistest.Start(t, "--rename-command", "SET", "", "--requirepass", "secret-password")
	exporter, provider := newTracer(t)
	url := strings.Replace(server.URL(), "redis://", "redis://:secret-password@", 1)
	r := newRedis(t, url, func(c *cache.RedisConfig) { c.Tracer = provider })
	err := r.Set(t.Context(), key, []byte(value), time.Hour)
	if err == nil || !strings.Contains(err.Error(), value) {
		t.Fatalf("error = %v; this test needs a reply that quotes the value", err)
	}
	if _, attributes := spansNamed(exporter, "SET"); len(attributes) != 1 ||
		attributes[0]["db.response.status_code"] != "ERR" {
		t.Errorf("attributes of SET = %v, want one span with ERR", attributes)
	}
	wantNoSecret(t, exporter, key, value, "secret-password")
}

// wantNoSecret checks every text in every span.
func wantNoSecret(t *testing.T, exporter *tracetest.InMemoryExporter, secrets ...string) {
	t.Helper()
	for _, s := range exporter.GetSpans() {
		texts := []string{s.Name, s.Status.Description}
		for _, kv := range s.Attributes {
			texts = append(texts, kv.Value.String())
		}
		if len(s.Events) != 0 {
			t.Errorf("span %s has events %v, want none", s.Name, s.Events)
		}
		for _, text := range texts {
			for _, secret := range secrets {
				if strings.Contains(text, secret) {
					t.Errorf("span %s tells %q in %q", s.Name, secret, text)
				}
			}
		}
	}
}

func TestRedisWithTracingIsAStore(t *testing.T) {
	server := redistest.Start(t)
	_, provider := newTracer(t)
	cachetest.Run(t, func(t *testing.T) cache.Store {
		server.Do("FLUSHALL")
		return newRedis(t, server.URL(), func(c *cache.RedisConfig) { c.Tracer = provider })
	})
}
