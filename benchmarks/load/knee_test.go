package load_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/benchmarks/load"
)

// desk answers one request at a time, in service, and refuses what finds more
// than room waiting, at once. It has no network.
type desk struct {
	service time.Duration
	room    int // 0: any number may wait
	turns   chan struct{}
	waiting chan struct{}
}

func newDesk(service time.Duration, room int) *desk {
	d := &desk{service: service, room: room, turns: make(chan struct{}, 1)}
	if room > 0 {
		d.waiting = make(chan struct{}, room)
	}
	return d
}

func (d *desk) Name() string                       { return "desk" }
func (d *desk) Open(ctx context.Context) load.Lane { return deskLane{d, ctx} }

type deskLane struct {
	*desk
	ctx context.Context
}

func (l deskLane) Close() {}

func (l deskLane) Send(_ int, deadline time.Time) load.Answer {
	a := load.Answer{Wrote: true, Status: 200}
	if l.room > 0 {
		select {
		case l.waiting <- struct{}{}:
			defer func() { <-l.waiting }()
		default:
			return load.Answer{Wrote: true, Status: 503, Failure: "status_503"}
		}
	}
	select {
	case l.turns <- struct{}{}:
	case <-time.After(time.Until(deadline)):
		return load.Answer{Wrote: true, Failure: load.TimedOut}
	case <-l.ctx.Done():
		return load.Answer{Wrote: true, Failure: load.CutOff}
	}
	time.Sleep(l.service)
	<-l.turns
	a.First = time.Now()
	return a
}

// TestKneeIsTheCapacity looks for the knee of a desk that serves 100 a second.
func TestKneeIsTheCapacity(t *testing.T) {
	t.Parallel()
	for _, start := range []float64{7, 100, 900} {
		synctest.Test(t, func(t *testing.T) {
			plan := load.KneePlan{
				Start: start, Max: 10_000, Precision: 0.02, Probe: 5 * time.Second, Arrivals: load.Even, Seed: 1,
				Objective: load.Objective{Quantile: 0.99, Latency: 30 * time.Millisecond, BadShare: 0.001},
			}
			o := options(64)
			k, runs, err := o.FindKnee(t.Context(), newDesk(10*time.Millisecond, 0), plan)
			if err != nil {
				t.Fatal(err)
			}
			if k.Rate < 98 || k.Rate > 101 || k.Above <= k.Rate || k.Above > k.Rate*1.05 ||
				k.GeneratorLate || len(k.Warnings) > 0 {
				t.Errorf("from %g/s: knee %g, above %g, late %v, %q; want about 100", start, k.Rate,
					k.Above, k.GeneratorLate, k.Warnings)
			}
			last := k.Probes[len(k.Probes)-1]
			if !last.Met || last.Rate != k.Rate || last.Report.DurationS != 10 || len(runs) != len(k.Probes) {
				t.Errorf("the last of %d probes is %+v, not the confirmation", len(runs), last)
			}
		})
	}
}

// worker is a desk that works for each answer, on a processor.
type worker struct{ *desk }

func (w worker) Open(ctx context.Context) load.Lane { return workerLane{w.desk.Open(ctx)} }

type workerLane struct{ load.Lane }

func (l workerLane) Send(n int, deadline time.Time) load.Answer {
	sha256.Sum256(make([]byte, 4<<20))
	return l.Lane.Send(n, deadline)
}

// TestKneeTellsProcessorTime watches this process.
func TestKneeTellsProcessorTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		plan := load.KneePlan{Start: 10, Max: 20, Precision: 0.1, Probe: time.Second, Arrivals: load.Even,
			Objective: load.DefaultObjective()}
		o := options(64)
		k, _, err := o.FindKnee(t.Context(), newDesk(time.Millisecond, 0), plan)
		if err != nil || k.CPUPer1000 != 0 || k.CompletedPerCPUS != 0 {
			t.Errorf("of no process: %g, %g, %v", k.CPUPer1000, k.CompletedPerCPUS, err)
		}
		o.PID = os.Getpid()
		k, _, err = o.FindKnee(t.Context(), worker{newDesk(time.Millisecond, 0)}, plan)
		if err != nil || len(k.Probes) != 3 {
			t.Fatalf("%d probes, %v", len(k.Probes), err)
		}
		confirmed := k.Probes[2].Report
		// Forty answers in the confirming probe.
		if k.CPUPer1000 != confirmed.Process.CPUPer1000 || math.Abs(k.CPUPer1000-confirmed.Process.CPUS*25) > 0.03 {
			t.Errorf("%g CPU s per 1000 at the knee, its probe: %+v", k.CPUPer1000, confirmed.Process)
		}
		if k.CPUPer1000 <= 0 || math.Abs(k.CPUPer1000*k.CompletedPerCPUS-1000) > 1 {
			t.Errorf("%g CPU s per 1000 and %g per CPU s", k.CPUPer1000, k.CompletedPerCPUS)
		}
		var text strings.Builder
		if err := k.Text(&text); err != nil ||
			!strings.Contains(text.String(), fmt.Sprintf("at the knee: %.3f CPU s", k.CPUPer1000)) {
			t.Errorf("%v: %s", err, text.String())
		}
	})
}

func TestKneeOutOfReach(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		plan := load.KneePlan{Start: 10, Max: 40, Precision: 0.1, Probe: time.Second, Arrivals: load.Even,
			Objective: load.DefaultObjective()}
		k, _, err := options(64).FindKnee(t.Context(), newDesk(time.Millisecond, 0), plan)
		if err != nil || k.Rate != 40 || k.Above != 0 || len(k.Warnings) != 1 {
			t.Errorf("a knee above max-rate: %g, %g, %q, %v", k.Rate, k.Above, k.Warnings, err)
		}
		plan.Objective.Latency = time.Millisecond
		k, _, err = options(64).FindKnee(t.Context(), newDesk(5*time.Millisecond, 0), plan)
		if err != nil || k.Rate != 0 || k.Above != 1.25 {
			t.Errorf("an objective that no rate meets: %g, %g, %v", k.Rate, k.Above, err)
		}
		refuses := func(context.Context, string, string) (net.Conn, error) { return nil, errors.New("no") }
		if _, _, err = options(4).FindKnee(t.Context(), target(t, refuses), plan); err == nil {
			t.Error("a target that answers nothing has a knee")
		}
	})
}

// TestOverload asks three times of a desk what it bears. It has room for ten,
// so that it goes on at its pace and refuses the rest at once.
func TestOverload(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		plan := load.OverloadPlan{
			Rate: 100, Factor: 3, Phase: 4 * time.Second,
			Objective: load.Objective{Quantile: 0.99, Latency: 150 * time.Millisecond, BadShare: 0.001},
		}
		s, err := load.NewSchedule(plan.Profile(), load.Even, 1)
		if err != nil {
			t.Fatal(err)
		}
		run, err := options(64).Open(t.Context(), newDesk(10*time.Millisecond, 10), s)
		if err != nil {
			t.Fatal(err)
		}
		got := plan.Summarise(run)
		before, during, after := got.Phases[0], got.Phases[1], got.Phases[2]
		if before.Completed != 400 || before.Refused != 0 || before.GoodputPS != 100 {
			t.Errorf("before: %+v", before)
		}
		if during.Scheduled != 1200 || during.Completed < 395 || during.Completed > 415 ||
			during.Completed+during.Refused != 1200 || during.Lost != 0 {
			t.Errorf("during: %+v", during)
		}
		if during.Accepted.P99 < 90 || during.Accepted.P99 > 105 || during.Refusal.Max != 0 {
			t.Errorf("accepted %+v, refusals %+v", during.Accepted, during.Refusal)
		}
		if got.GoodputShare < 0.98 || got.RecoveryS == nil || *got.RecoveryS > 0.5 || after.Completed < 385 {
			t.Errorf("share %g, recovery %v, after %+v", got.GoodputShare, got.RecoveryS, after)
		}

		// Without a bound it takes on all, and is late ever after.
		run, err = options(64).Open(t.Context(), newDesk(10*time.Millisecond, 0), s)
		if err != nil {
			t.Fatal(err)
		}
		if got := plan.Summarise(run); got.RecoveryS != nil || got.GoodputShare > 0.1 || got.Phases[1].Lost != 0 {
			t.Errorf("without a bound: share %g, recovery %v", got.GoodputShare, got.RecoveryS)
		}
	})
}

// TestRefusals are those of HTTP servers, by status, and of others, by name.
func TestRefusals(t *testing.T) {
	t.Parallel()
	plan := load.OverloadPlan{Rate: 1, Factor: 2, Phase: time.Second, Objective: load.DefaultObjective()}
	for _, c := range []struct {
		status  uint16
		failure load.Failure
		refused int
	}{
		{429, "status_429", 1}, {503, "status_503", 1}, {0, load.Busy, 1}, {500, "status_500", 0}, {0, load.TimedOut, 0},
	} {
		run := load.Run{Records: []load.Record{{Outcome: load.Failed, Wrote: true, Status: c.status, Failure: c.failure}}}
		if p := plan.Summarise(run).Phases[0]; p.Refused != c.refused || p.Lost != 1-c.refused {
			t.Errorf("%d %s: %d refused, %d lost", c.status, c.failure, p.Refused, p.Lost)
		}
	}
}

// TestCompare takes turns between a desk and one that is twice as slow.
func TestCompare(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		plan := load.ComparePlan{Pairs: 4, Profile: load.Constant(20, 2*time.Second), Arrivals: load.Even, Seed: 1}
		targets := [2]load.Target{newDesk(10*time.Millisecond, 0), newDesk(20*time.Millisecond, 0)}
		blocks, err := options(8).Compare(t.Context(), targets, plan)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]int{0, 1, 1, 0, 0, 1, 1, 0}, blocks.Of); diff != "" {
			t.Errorf("order (-want +got):\n%s", diff)
		}
		c := blocks.Summarise()
		if c.A.Scheduled != 160 || c.A.Completed != 160 || c.B.Completed != 160 ||
			c.A.LatencyMS.P99 != 10 || c.B.LatencyMS.P99 != 20 {
			t.Errorf("A %+v, B %+v", c.A, c.B)
		}
		if diff := cmp.Diff(&load.Ratio{Ratio: 2, Low: 2, High: 2, Pairs: 4}, c.Ratios["latency_p50"]); diff != "" {
			t.Errorf("latency (-want +got):\n%s", diff)
		}

		plan.Closed = 1
		blocks, err = options(8).Compare(t.Context(), targets, plan)
		if err != nil {
			t.Fatal(err)
		}
		if c := blocks.Summarise(); c.Ratios["completed_per_s"].Ratio != 0.5 ||
			c.A.Loop != load.ClosedLoop || c.A.CompletedPer != 100 {
			t.Errorf("closed loops: ratio %+v, A %+v", c.Ratios["completed_per_s"], c.A)
		}
	})
}
