package telemetry_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/telemetry"
)

// TestARestartOfTheCollectorLosesNothing: a batch is tried again until its
// time is up.
func TestARestartOfTheCollectorLosesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := time.Now().Add(7 * time.Second)
		e := &exporter{export: func(context.Context, int) error {
			if time.Now().Before(away) {
				return errors.New("connection refused")
			}
			return nil
		}}
		cfg := telemetry.DefaultConfig()
		tel := newTelemetry(t, cfg, e)
		end(t.Context(), tel, 5000)
		time.Sleep(cfg.ExportTimeout)
		wantOutcomes(t, tel, 5000, 5000, 0, 0)
		if err := tel.Close(context.Background()); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
}

// TestADeadCollector costs spans and nothing else: ending them takes no time,
// the counts show what is missing, and the end does not wait for each batch.
func TestADeadCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &exporter{export: func(context.Context, int) error { return errors.New("connection refused") }}
		cfg := telemetry.DefaultConfig()
		cfg.QueueSize, cfg.BatchSize = 1000, 100
		tel := newTelemetry(t, cfg, e)
		start := time.Now()
		end(t.Context(), tel, 5000)
		if took := time.Since(start); took != 0 {
			t.Errorf("ending spans took %v", took)
		}
		time.Sleep(cfg.ExportTimeout + 2*cfg.BatchDelay)
		got := outcomes(t, tel)
		if got["dropped"] < 3900 || got["failed"] != 100 ||
			got["ended"] != got["exported"]+got["failed"]+got["dropped"]+got["queued"] {
			t.Errorf("spans are %v", got)
		}
		start = time.Now()
		if err := tel.Tracer().Shutdown(context.Background()); err != nil || time.Since(start) > cfg.ShutdownLimit {
			t.Errorf("Shutdown: %v after %v", err, time.Since(start))
		}
		if got := outcomes(t, tel); got["queued"] != 0 || got["failed"]+got["dropped"] != 5000 {
			t.Errorf("after Shutdown spans are %v, want none queued and all accounted for", got)
		}
	})
}

// TestTheBooksAlwaysAddUp, whoever looks and whenever.
func TestTheBooksAlwaysAddUp(t *testing.T) {
	n := 0
	e := &exporter{export: func(context.Context, int) error {
		if n++; n%3 == 0 {
			return errors.New("no")
		}
		return nil
	}}
	cfg := telemetry.DefaultConfig()
	cfg.QueueSize, cfg.BatchSize, cfg.BatchDelay, cfg.ExportTimeout = 64, 16, time.Millisecond, time.Nanosecond
	tel := newTelemetry(t, cfg, e)
	var work sync.WaitGroup
	for range 4 {
		work.Go(func() { end(t.Context(), tel, 2000) })
	}
	for range 50 {
		got := outcomes(t, tel)
		if got["ended"] != got["exported"]+got["failed"]+got["dropped"]+got["queued"] {
			t.Fatalf("spans are %v", got)
		}
	}
	work.Wait()
	if err := tel.Tracer().Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	got := outcomes(t, tel)
	if got["ended"] != 8000 || got["queued"] != 0 || got["ended"] != got["exported"]+got["failed"]+got["dropped"] ||
		got["exported"] != e.exported() {
		t.Errorf("in the end spans are %v, and %d arrived", got, e.exported())
	}
}

// TestSpansEndedAfterCloseAreDropped, and counted.
func TestSpansEndedAfterCloseAreDropped(t *testing.T) {
	tel := newTelemetry(t, telemetry.DefaultConfig(), &exporter{})
	_, late := tel.Tracer().Tracer("test").Start(t.Context(), "late")
	end(t.Context(), tel, 2)
	if err := tel.Tracer().Shutdown(t.Context()); err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	late.End()
	if got := outcomes(t, tel); got["exported"] != 2 || got["ended"]-got["dropped"] != 2 {
		t.Errorf("spans are %v", got)
	}
}

// TestSampleRatio: a share of the traces is recorded, whole, and remote
// parents have no say in it.
func TestSampleRatio(t *testing.T) {
	cfg := telemetry.DefaultConfig()
	cfg.SampleRatio = 0.5
	tel := newTelemetry(t, cfg, &exporter{})
	tracer, recorded := tel.Tracer().Tracer("test"), 0
	for i := range 1000 {
		parent := trace.NewSpanContext(trace.SpanContextConfig{
			TraceID: trace.TraceID{1, 8: byte(i * 37), 9: byte(i)}, SpanID: trace.SpanID{1}, Remote: true,
			TraceFlags: trace.TraceFlags(i % 2),
		})
		ctx, span := tracer.Start(trace.ContextWithSpanContext(t.Context(), parent), "work")
		_, child := tracer.Start(ctx, "part")
		if span.SpanContext().IsSampled() != child.SpanContext().IsSampled() {
			t.Fatal("half a trace is recorded")
		}
		if span.SpanContext().IsSampled() {
			recorded++
		}
		if !span.SpanContext().IsValid() {
			t.Fatal("an unsampled span has no ids")
		}
	}
	if recorded < 400 || recorded > 600 {
		t.Errorf("%d of 1000 traces are recorded, want about half", recorded)
	}
}

// TestLongAttributesAreCut, whoever sets them.
func TestLongAttributesAreCut(t *testing.T) {
	e := tracetest.NewInMemoryExporter()
	tel := newTelemetry(t, telemetry.DefaultConfig(), keep{e})
	_, span := tel.Tracer().Tracer("test").Start(t.Context(), "work",
		trace.WithAttributes(attribute.String("a", strings.Repeat("a", 1<<20))))
	span.SetAttributes(attribute.StringSlice("b", []string{strings.Repeat("ü", 5000)}))
	for i := range 1000 {
		span.SetAttributes(attribute.Int(fmt.Sprint("n", i), i))
	}
	span.End()
	flush(t, tel)
	for _, s := range e.GetSpans() {
		if len(s.Attributes) > 64 {
			t.Errorf("%d attributes", len(s.Attributes))
		}
		for _, kv := range s.Attributes {
			if n := len([]rune(kv.Value.String())); n > telemetry.MaxAttributeBytes+4 { // a list has brackets and quotes
				t.Errorf("attribute %s has %d characters", kv.Key, n)
			}
		}
	}
	if len(e.GetSpans()) != 1 {
		t.Errorf("%d spans", len(e.GetSpans()))
	}
}

// keep hides Shutdown, which empties the exporter.
type keep struct{ sdktrace.SpanExporter }

func (keep) Shutdown(context.Context) error { return nil }
