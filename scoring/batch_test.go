package scoring_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/attribute"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// batchRig is a bench with batching whose Triton takes 100 ms for a call.
type batchRig struct {
	*bench
	reader *sdkmetric.ManualReader
	spans  *tracetest.SpanRecorder
}

func newBatchRig(t *testing.T, max int) batchRig {
	t.Helper()
	cfg := scoring.Config{Concurrency: 100, Queue: 100, RetryAfter: time.Second,
		Batch: scoring.BatchConfig{Max: max, Wait: 500 * time.Millisecond, InFlight: 2}}
	r := batchRig{reader: sdkmetric.NewManualReader(), spans: tracetest.NewSpanRecorder()}
	r.bench = newBenchTraced(t, cfg, sdkmetric.NewMeterProvider(sdkmetric.WithReader(r.reader)),
		sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(r.spans)))
	r.triton.takes = 100 * time.Millisecond
	return r
}

// rush sends n requests, one after another, and returns their errors.
func (r batchRig) rush(t *testing.T, n int, ctxOf func(i int) context.Context) []error {
	t.Helper()
	errs := make([]error, n)
	done := make(chan bool, n)
	for i := range n {
		go func() {
			name := fmt.Sprintf("good%c", 'A'+i)
			got, err := r.service.Score(ctxOf(i), requestOf(name))
			if err == nil {
				err = got.Results[0].Err
			}
			if errs[i] = err; err == nil {
				if want := float32('A'+i) + 1000; got.Results[0].Scores[0].Score != want {
					t.Errorf("request %d: score %g, want %g", i, got.Results[0].Scores[0].Score, want)
				}
			}
			done <- true
		}()
		synctest.Wait()
	}
	for range n {
		<-done
	}
	return errs
}

func always(t *testing.T) func(int) context.Context {
	return func(int) context.Context { return t.Context() }
}

func TestOnlyWhatWouldWaitIsBatched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 8)
		for i, err := range r.rush(t, 7, always(t)) {
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if want := []string{"ensemble a +", "ensemble a +", "ensemble a +++++"}; !slices.Equal(r.triton.calls, want) {
			t.Errorf("calls %q, want two at once and the rest together", r.triton.calls)
		}
		p := metricstest.Collect(t, r.reader)["agiqa.batch.size"].(metricdata.Histogram[int64]).DataPoints[0]
		if p.Count != 3 || p.Sum != 7 {
			t.Errorf("agiqa.batch.size has %d calls of %d images, want 3 of 7", p.Count, p.Sum)
		}
	})
}

func TestBatchesAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 3)
		r.triton.takes = time.Minute
		begin := time.Now()
		errs := r.rush(t, 9, always(t)) // 2 alone, 3, 3, and one after its wait
		for i, err := range errs {
			if err != nil {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if want := []string{"ensemble a +", "ensemble a +", "ensemble a +++", "ensemble a +++",
			"ensemble a +"}; !slices.Equal(r.triton.calls, want) {
			t.Errorf("calls %q, want %q", r.triton.calls, want)
		}
		if took := time.Since(begin); took != time.Minute+500*time.Millisecond {
			t.Errorf("took %s: the last waited for something else than its bound", took)
		}
	})
}

// Each keeps its own deadline; one that leaves does not end the others' call,
// and one that left before is not sent.
func TestEachKeepsItsDeadlineInABatch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 8)
		short, cancel := context.WithTimeout(t.Context(), 150*time.Millisecond)
		defer cancel()
		gone, leave := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer leave()
		errs := r.rush(t, 6, func(i int) context.Context {
			switch i {
			case 3:
				return short // waits 100 ms, and 100 ms are too many
			case 4:
				return gone
			}
			return t.Context()
		})
		for i, err := range errs {
			if want := i == 3 || i == 4; (err != nil) != want || want && quality.KindOf(err) != quality.KindDeadlineExceeded {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if last := r.triton.calls[len(r.triton.calls)-1]; last != "ensemble a +++" {
			t.Errorf("the batch was %q, want the three that were still there", last)
		}
	})
}

// modelBroke is what the Triton client says of a model that failed.
type modelBroke struct{}

func (modelBroke) Error() string    { return "the model raised" }
func (modelBroke) ModelBroke() bool { return true }

func TestAPoisonedImageCostsItsOwnRequestOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 8)
		r.triton.poison = 'D' // the fourth
		errs := r.rush(t, 6, always(t))
		for i, err := range errs {
			if (err != nil) != (i == 3) {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if got := metricstest.Values(t, r.reader, "agiqa.batch.splits")["call=ensemble"]; got != 1 {
			t.Errorf("agiqa.batch.splits is %d, want 1", got)
		}
	})
}

// A server that is away, full or slow is not asked again.
func TestOtherFailuresOfABatchAreNotRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 8)
		r.triton.late = quality.Errorf(quality.KindOverloaded, "full")
		for i, err := range r.rush(t, 6, always(t)) {
			if quality.KindOf(err) != quality.KindOverloaded {
				t.Errorf("request %d: %v", i, err)
			}
		}
		if len(r.triton.calls) != 3 {
			t.Errorf("%d calls for 6 requests: %q, want 3", len(r.triton.calls), r.triton.calls)
		}
	})
}

func TestBatchesAreLinkedToTheirRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newBatchRig(t, 8)
		for _, err := range r.rush(t, 5, always(t)) {
			if err != nil {
				t.Fatal(err)
			}
		}
		var batch sdktrace.ReadOnlySpan
		stages := map[string]sdktrace.ReadOnlySpan{} // by span id
		for _, s := range r.spans.Ended() {
			switch s.Name() {
			case "batch":
				batch = s
			case "ensemble":
				stages[s.SpanContext().SpanID().String()] = s
			}
		}
		if batch == nil || len(batch.Links()) != 2 ||
			!slices.Contains(batch.Attributes(), attribute.Int("agiqa.batch.requests", 3)) {
			t.Fatalf("batch span %+v, want one of three requests with two links", batch)
		}
		if stages[batch.Parent().SpanID().String()] == nil {
			t.Error("the batch is not a child of its first request")
		}
		for _, l := range batch.Links() {
			s := stages[l.SpanContext.SpanID().String()]
			if s == nil || len(s.Links()) != 1 || s.Links()[0].SpanContext.SpanID() != batch.SpanContext().SpanID() {
				t.Errorf("link %s leads to no request that links back", l.SpanContext.SpanID())
			}
		}
	})
}
