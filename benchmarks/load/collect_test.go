package load_test

import (
	"context"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
)

// gcPercent is by how much the heap may grow before it is collected.
func gcPercent() uint64 {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}}
	metrics.Read(s)
	return s[0].Value.Uint64()
}

// teller is a target that does something for each request.
type teller func(n int)

func (t teller) Name() string                     { return "teller" }
func (t teller) Open(_ context.Context) load.Lane { return t }
func (t teller) Close()                           {}

func (t teller) Send(n int, _ time.Time) load.Answer {
	t(n)
	return load.Answer{Wrote: true, Status: 200}
}

// TestCollectionsAreRareMeanwhile has a run within a run: what was changed for
// the process lasts as long as the outer one, and no longer. It is not
// parallel, because the whole process has one percentage.
func TestCollectionsAreRareMeanwhile(t *testing.T) {
	before := gcPercent()
	var meanwhile []uint64
	look := func(int) { meanwhile = append(meanwhile, gcPercent()) }
	o := load.DefaultOptions()
	o.Connections = 1
	open := func(target load.Target) {
		if run, err := o.Open(t.Context(), target, schedule(t, 1000, time.Millisecond, load.Even)); err != nil ||
			run.Err() != nil {
			t.Error(err, run.Err())
		}
	}
	open(teller(func(n int) {
		look(n)
		open(teller(look))
		look(n)
	}))
	if len(meanwhile) != 3 || gcPercent() != before {
		t.Fatalf("%d looks; GC percent %d after the run, %d before", len(meanwhile), gcPercent(), before)
	}
	for i, percent := range meanwhile {
		// 256 MiB are at least ten times what a test has.
		if percent < 10*max(before, 1) || percent != meanwhile[0] {
			t.Errorf("look %d: GC percent %d, was %d", i, percent, before)
		}
	}
}

// TestStopsWhileNothingIsDue ends a run in the long wait for its second
// request.
func TestStopsWhileNothingIsDue(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	o := load.DefaultOptions()
	o.Connections = 1
	run, err := o.Open(ctx, teller(func(int) { stop() }),
		load.Schedule{Due: []time.Duration{0, time.Hour}, Length: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	wantCounts(t, run, counts{Scheduled: 2, Sent: 1, Completed: 1, Unsent: 1})
	if run.Err() == nil {
		t.Error("a run that was cut short has no error")
	}
}
