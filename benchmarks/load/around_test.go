package load_test

import (
	"strings"
	"testing"
	"time"

	"github.com/agiqa/agiqa/benchmarks/load"
)

// answered is a request that took so long, with one stage of half of that.
func answered(due, took time.Duration) load.Record {
	return load.Record{Due: due, Start: due, Done: due + took, Outcome: load.Completed, Status: 200, Wrote: true,
		Stages: []float32{float32(took.Milliseconds()) / 2}}
}

func TestLookAround(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	const s, ms = time.Second, time.Millisecond
	refused := load.Record{Due: 4500 * ms, Start: 4500 * ms, Done: 4510 * ms, Outcome: load.Failed,
		Failure: "status_503", Status: 503, Wrote: true}
	one := load.Run{Target: "t", Loop: load.OpenLoop, Started: start, Length: 10 * s, Took: 10 * s,
		Stages: []string{"lookup"}, Records: []load.Record{
			answered(2900*ms, 900*ms), // before the window
			answered(3*s, 10*ms), answered(3999*ms, 20*ms),
			answered(4*s, 70*ms), refused, answered(4999*ms, 50*ms),
			answered(5*s, 800*ms), // behind it
			{Due: 9 * s, Outcome: load.Dropped},
		}}
	// The same events, seen by a generator that began a second later.
	two := one
	two.Started, two.Records = start.Add(s), []load.Record{answered(2500*ms, 30*ms), answered(3500*ms, 100*ms)}

	event := start.Add(4 * s)
	for name, c := range map[string]struct {
		runs          []load.Run
		events        []time.Time
		before, after int
		added         float64
		bad, of       int
		stage         float64
	}{
		"one run":          {[]load.Run{one}, []time.Time{event}, 2, 2, 70 - 20, 2, 8, 35},
		"runs of one time": {[]load.Run{one, two}, []time.Time{event}, 3, 3, 100 - 30, 2, 10, 50},
		"two events":       {[]load.Run{one}, []time.Time{event, start.Add(3900 * ms)}, 2 + 2, 2 + 2, 70 - 900, 2, 8, 35},
	} {
		t.Run(name, func(t *testing.T) {
			a, err := load.LookAround(c.runs, c.events, s)
			if err != nil {
				t.Fatal(err)
			}
			if a.Before.Completed != c.before || a.After.Completed != c.after ||
				a.AddedP99MS == nil || *a.AddedP99MS != c.added {
				t.Errorf("before %d, after %d, added %v", a.Before.Completed, a.After.Completed, a.AddedP99MS)
			}
			if a.Bad != c.bad || a.Scheduled != c.of || a.After.Errors == 0 {
				t.Errorf("%d of %d bad, %d errors after", a.Bad, a.Scheduled, a.After.Errors)
			}
			if got := a.After.StagesMS["lookup"].Max; got != c.stage {
				t.Errorf("lookup took %g at most", got)
			}
			var text strings.Builder
			if err := a.Text(&text); err != nil || !strings.Contains(text.String(), "status_503") ||
				!strings.Contains(text.String(), "server: lookup") {
				t.Errorf("%v: %s", err, &text)
			}
		})
	}
}

func TestLookAroundRefusesWindowsBeyondTheRun(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	run := load.Run{Started: start, Length: 10 * time.Second}
	for _, at := range []time.Duration{-time.Second, 999 * time.Millisecond, 9001 * time.Millisecond, time.Minute} {
		if _, err := load.LookAround([]load.Run{run}, []time.Time{start.Add(at)}, time.Second); err == nil {
			t.Errorf("an event at %s of a run of 10s was accepted", at)
		}
	}
	if _, err := load.LookAround([]load.Run{run}, nil, time.Second); err == nil {
		t.Error("no events were accepted")
	}
	a, err := load.LookAround([]load.Run{run}, []time.Time{start.Add(5 * time.Second)}, time.Second)
	if err != nil || a.AddedP99MS != nil || a.Text(&strings.Builder{}) != nil {
		t.Errorf("a run without requests: %v, %v", a.AddedP99MS, err)
	}
}
