package scoring_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// requestOf asks for one image by one checkpoint.
func requestOf(image string) scoring.Request {
	return scoring.Request{Items: items(image), Checkpoints: []quality.Checkpoint{checkpointOf("a", 1)}}
}

// measured is a bench whose metrics can be read.
func measured(t *testing.T, cfg scoring.Config) (*bench, *sdkmetric.ManualReader) {
	t.Helper()
	reader := sdkmetric.NewManualReader()
	return newBenchWith(t, cfg, sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))), reader
}

// refusals returns agiqa.admission.refusals by its labels.
func refusals(t *testing.T, reader *sdkmetric.ManualReader) map[string]int64 {
	t.Helper()
	return metricstest.Values(t, reader, "agiqa.admission.refusals")
}

func gauges(t *testing.T, reader *sdkmetric.ManualReader) map[string]float64 {
	t.Helper()
	out := map[string]float64{}
	for name, data := range metricstest.Collect(t, reader) {
		switch d := data.(type) {
		case metricdata.Gauge[int64]:
			out[name] = float64(d.DataPoints[0].Value)
		case metricdata.Gauge[float64]:
			out[name] = d.DataPoints[0].Value
		}
	}
	return out
}

// slow makes every decode take d of the bubble's time.
func (b *bench) slow(d time.Duration) {
	b.preparer.prepare = func(ctx context.Context, _ []byte) error {
		select {
		case <-time.After(d):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// What cannot be done in its time at the pace of the last requests is refused
// at once, and what can be is not.
func TestTooLateIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, reader := measured(t, scoring.Config{Concurrency: 1, Queue: 100, RetryAfter: time.Second})
		b.slow(100 * time.Millisecond)
		start := func(i int) {
			go func() {
				if _, err := b.service.Score(t.Context(), requestOf(fmt.Sprintf("good%d", i))); err != nil {
					t.Errorf("admitted request %d: %v", i, err)
				}
			}()
			synctest.Wait()
		}
		for i := range 40 { // 4 s of work
			start(i)
		}
		ask := func(budget time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), budget)
			defer cancel()
			return b.service.Admit(ctx)
		}
		if err := ask(time.Millisecond); err != nil {
			t.Errorf("before there is a pace: %v", err)
		}
		time.Sleep(2 * time.Second) // 20 are done, 2 s of work are left
		synctest.Wait()
		if g := gauges(t, reader); g["agiqa.queue.depth"] < 18 || g["agiqa.queue.working"] != 1 ||
			g["agiqa.queue.wait"] < 1.9 || g["agiqa.queue.wait"] > 2.3 {
			t.Errorf("gauges %v, want some 19 waiting, 1 working, 2.1 s", g)
		}
		if err := ask(5 * time.Second); err != nil { // 2.1 s, twice
			t.Errorf("with time enough: %v", err)
		}
		err := ask(3 * time.Second)
		if e, ok := errors.AsType[*quality.Error](err); !ok ||
			e.Kind != quality.KindOverloaded || e.RetryAfter < time.Second {
			t.Errorf("with too little time: %v, want overloaded with advice", err)
		}
		before := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if _, err := b.service.Score(ctx, requestOf("goodx")); quality.KindOf(err) != quality.KindOverloaded ||
			time.Since(before) != 0 {
			t.Errorf("at the queue: %v after %s, want overloaded at once", err, time.Since(before))
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if err := ask(time.Millisecond); err != nil {
			t.Errorf("idle again: %v", err)
		}
		want := map[string]int64{
			"outcome=rejected_before_body,reason=too_late": 1, "outcome=rejected_after_body,reason=too_late": 1,
		}
		if got := refusals(t, reader); !maps.Equal(got, want) {
			t.Errorf("refusals %v", got)
		}
	})
}

// A large image waits longer in the estimate than a small one.
func TestCostCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBenchWith(t, scoring.Config{Concurrency: 1, Queue: 100, RetryAfter: time.Second},
			metricnoop.NewMeterProvider())
		b.slow(100 * time.Millisecond)
		for i := range 30 {
			go func() { _, _ = b.service.Score(t.Context(), requestOf(fmt.Sprintf("good%d", i))) }()
		}
		synctest.Wait()
		time.Sleep(2 * time.Second)
		synctest.Wait() // 1 s of work is left
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		big := requestOf("good") // as "10 megapixels"
		b.preparer.width, b.preparer.height = 5000, 2000
		if _, err := b.service.Score(ctx, big); quality.KindOf(err) != quality.KindOverloaded {
			t.Errorf("ten megapixels with three seconds left: %v, want overloaded", err)
		}
		b.preparer.width, b.preparer.height = 0, 0
		if _, err := b.service.Score(ctx, big); err != nil {
			t.Errorf("a small image: %v", err)
		}
	})
}

func TestQueueFullIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, reader := measured(t, scoring.Config{Concurrency: 1, Queue: 1, RetryAfter: time.Second})
		b.slow(time.Second)
		for i := range 2 {
			go func() { _, _ = b.service.Score(t.Context(), requestOf(fmt.Sprintf("good%d", i))) }()
		}
		synctest.Wait()
		if err := b.service.Admit(t.Context()); quality.KindOf(err) != quality.KindOverloaded {
			t.Errorf("Admit: %v", err)
		}
		if _, err := b.service.Prepare(t.Context(), []byte("good3"), "", quality.View{}); quality.KindOf(err) != quality.KindOverloaded {
			t.Errorf("Prepare: %v", err)
		}
		want := map[string]int64{
			"outcome=rejected_before_body,reason=queue_full": 1, "outcome=rejected_after_body,reason=queue_full": 1,
		}
		if got := refusals(t, reader); !maps.Equal(got, want) {
			t.Errorf("refusals %v", got)
		}
	})
}

// F26: whoever leaves while waiting frees its place, and its cost with it.
func TestF26LeavingFreesThePlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, reader := measured(t, scoring.Config{Concurrency: 1, Queue: 4, RetryAfter: time.Second})
		b.slow(time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _, _ = b.service.Score(t.Context(), requestOf("good0")) }()
		synctest.Wait()
		for i := range 4 {
			go func() { _, _ = b.service.Score(ctx, requestOf(fmt.Sprintf("good%d", i+1))) }()
		}
		synctest.Wait()
		cancel()
		synctest.Wait()
		if g := gauges(t, reader); g["agiqa.queue.depth"] != 0 {
			t.Errorf("%v wait, want none", g["agiqa.queue.depth"])
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if g := gauges(t, reader); g["agiqa.queue.working"] != 0 {
			t.Errorf("%v work, want none", g["agiqa.queue.working"])
		}
	})
}

// With Triton known to be gone nothing is decoded for it; what is known is
// still tried.
func TestNothingIsDecodedForATritonThatIsGone(t *testing.T) {
	b := newBench(t, scoring.DefaultConfig())
	if _, err := b.service.Score(t.Context(), requestOf("good1")); err != nil {
		t.Fatal(err)
	}
	b.triton.gone = quality.Errorf(quality.KindModelUnavailable, "gone").After(time.Second)
	if _, err := b.service.Score(t.Context(), requestOf("good2")); quality.KindOf(err) != quality.KindModelUnavailable {
		t.Errorf("a fresh image: %v, want model_unavailable", err)
	}
	if b.preparer.decoded != 1 {
		t.Errorf("%d images were decoded, want the first only", b.preparer.decoded)
	}
	if got, err := b.service.Score(t.Context(), requestOf("good1")); err != nil || !got.Results[0].EmbeddingCached {
		t.Errorf("a known image: %+v, %v", got.Results, err)
	}
	if got, err := b.service.Score(t.Context(), requestOf("bad")); err != nil ||
		quality.KindOf(got.Results[0].Err) != quality.KindUnsupportedImageFormat {
		t.Errorf("what is no image: %+v, %v", got.Results, err)
	}
}

// A turn that comes when too little time is left is handed on, not used up.
func TestATurnThatComesTooLateIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, reader := measured(t, scoring.Config{Concurrency: 1, Queue: 100, RetryAfter: time.Second})
		b.slow(100 * time.Millisecond)
		errs := make([]error, 15)
		for i := range errs { // the last has its turn after 1.4 s
			go func() {
				budget := time.Minute
				if i == 14 {
					budget = 1450 * time.Millisecond
				}
				ctx, cancel := context.WithTimeout(t.Context(), budget)
				defer cancel()
				_, errs[i] = b.service.Score(ctx, requestOf(fmt.Sprintf("good%d", i)))
			}()
			synctest.Wait()
		}
		time.Sleep(1410 * time.Millisecond)
		synctest.Wait()
		if quality.KindOf(errs[14]) != quality.KindDeadlineExceeded || b.preparer.decoded != 14 {
			t.Errorf("%v after %d decodes, want it given up without a 15th", errs[14], b.preparer.decoded)
		}
		if got := refusals(t, reader); got["outcome=expired_in_queue,reason=too_late"] != 1 {
			t.Errorf("refusals %v", got)
		}
	})
}

// load sends one request each interval for a while, all with the same budget,
// and returns how many were answered, refused at once and late, and how long
// the slowest answer took.
func (b *bench) load(t *testing.T, interval, span,
	budget time.Duration) (answered, refused, late int, slowest time.Duration) {
	var mu sync.Mutex
	var all sync.WaitGroup
	start := time.Now().UnixNano() // no image comes twice
	for i := range int(span / interval) {
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), budget)
			defer cancel()
			began := time.Now()
			_, err := b.service.Score(ctx, requestOf(fmt.Sprintf("good%d-%d", start, i)))
			mu.Lock()
			defer mu.Unlock()
			switch took := time.Since(began); {
			case err == nil:
				answered++
				slowest = max(slowest, took)
			case quality.KindOf(err) == quality.KindOverloaded && took == 0:
				refused++
			default:
				late++
			}
		})
		time.Sleep(interval)
	}
	all.Wait()
	return answered, refused, late, slowest
}

// share makes every image take d of one machine, whatever else is under way: d
// may be changed in between.
func (b *bench) share(d *atomic.Int64) {
	machine := make(chan struct{}, 1)
	b.preparer.prepare = func(ctx context.Context, _ []byte) error {
		select {
		case machine <- struct{}{}:
			defer func() { <-machine }()
		case <-ctx.Done():
			return ctx.Err()
		}
		time.Sleep(time.Duration(d.Load()))
		return nil
	}
}

// Under five times what can be done, what is admitted is answered well in its
// time, nothing is late, and the machine is never without work. Many turns are
// no way around that, and neither is a machine that becomes slower.
func TestOverloadAnswersWhatItAdmits(t *testing.T) {
	for _, turns := range []int{4, 64} {
		t.Run(fmt.Sprintf("%d turns", turns), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBenchWith(t, scoring.Config{Concurrency: turns, Queue: 1000, RetryAfter: time.Second},
					metricnoop.NewMeterProvider())
				var each atomic.Int64
				each.Store(int64(100 * time.Millisecond))
				b.share(&each)
				// Nobody knows a pace at first.
				b.load(t, 100*time.Millisecond/5, 10*time.Second, 5*time.Second)
				answered, refused, late, slowest := b.load(t, 100*time.Millisecond/5, 20*time.Second, 5*time.Second)
				if late > 0 || slowest > 3*time.Second {
					t.Errorf("%d late, slowest answer %s; want none, and half of 5 s", late, slowest)
				}
				if answered < 190 || answered+refused != 1000 {
					t.Errorf("%d answered and %d refused of 1000, want 200 or a few less answered", answered, refused)
				}
				each.Store(int64(160 * time.Millisecond))
				if _, _, late, _ = b.load(t, 20*time.Millisecond, 20*time.Second, 5*time.Second); late > 0 {
					t.Errorf("%d late when the machine became slower", late)
				}
				// What was slow once does not refuse for ever.
				each.Store(int64(10 * time.Millisecond))
				time.Sleep(time.Minute)
				if answered, refused, _, _ := b.load(t, 20*time.Millisecond, 4*time.Second, 5*time.Second); refused > 0 {
					t.Errorf("%d refused, %d answered by a machine that is quick again", refused, answered)
				}
			})
		})
	}
}

func TestQueueWaitIsABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := scoring.Config{Concurrency: 4, Queue: 1000, RetryAfter: time.Second, QueueWait: time.Second}
		b := newBenchWith(t, cfg, metricnoop.NewMeterProvider())
		var each atomic.Int64
		each.Store(int64(100 * time.Millisecond))
		b.share(&each)
		b.load(t, 20*time.Millisecond, 10*time.Second, time.Minute)
		if answered, _, late, slowest := b.load(t, 20*time.Millisecond, 10*time.Second, time.Minute); late > 0 ||
			slowest > 1200*time.Millisecond || answered < 90 {
			t.Errorf("%d answered, %d late, slowest %s; want some 100 within a second", answered, late, slowest)
		}
	})
}
