package load

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// Around is what came of the requests that were due shortly before events, and
// of those due shortly after them, over all events and runs.
type Around struct {
	WindowS float64 `json:"window_s"` // before, and after, each event
	Events  int     `json:"events"`
	Before  Report  `json:"before"`
	After   Report  `json:"after"`
	// AddedP99MS is by how much the p99 of latency is higher after the events;
	// null: nothing completed before or after them.
	AddedP99MS *float64 `json:"added_p99_ms"`
	// Scheduled and Bad are of the whole runs; Bad did not complete.
	Scheduled int `json:"scheduled"`
	Bad       int `json:"bad"`
}

// LookAround compares the windows before and after events. Each event must lie
// so that both its windows lie within every run.
func LookAround(runs []Run, events []time.Time, window time.Duration) (Around, error) {
	if window <= 0 || len(events) == 0 || len(runs) == 0 {
		return Around{}, fmt.Errorf("%d events in %d runs, window %s: all must be positive", len(events), len(runs), window)
	}
	var before, after []Run
	out := Around{WindowS: seconds(window), Events: len(events)}
	for _, r := range runs {
		out.Scheduled += len(r.Records)
		for _, rec := range r.Records {
			if rec.Outcome != Completed {
				out.Bad++
			}
		}
		for _, e := range events {
			at := e.Sub(r.Started)
			if at < window || at+window > r.Length {
				return Around{}, fmt.Errorf("the event of %s lies %s after the start of a run of %s, less than %s from its ends",
					e.Format(time.RFC3339Nano), at, r.Length, window)
			}
			part := Run{Target: r.Target, Loop: r.Loop, Started: r.Started, Length: window, Took: window, Stages: r.Stages}
			part.Records = dueWithin(r.Records, at-window, at)
			before = append(before, part)
			part.Records = dueWithin(r.Records, at, at+window)
			after = append(after, part)
		}
	}
	out.Before, out.After = Summarise(Merge(before...)), Summarise(Merge(after...))
	if b, a := out.Before.LatencyMS, out.After.LatencyMS; b != nil && a != nil {
		added := round(a.P99 - b.P99)
		out.AddedP99MS = &added
	}
	return out, nil
}

// Text writes the comparison for people.
func (a Around) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "requests due in the %gs before and the %gs after %d events\n\n", a.WindowS, a.WindowS, a.Events)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ms\tbefore: count\tp50\tp99\tmax\tafter: count\tp50\tp99\tmax\tadded p99\t")
	row := func(name string, before, after *Percentiles) {
		x, y := orNone(before), orNone(after)
		fmt.Fprintf(t, "%s\t%d\t%.3f\t%.3f\t%.3f\t%d\t%.3f\t%.3f\t%.3f\t%+.3f\t\n", name, x.Count, x.P50, x.P99, x.Max,
			y.Count, y.P50, y.P99, y.Max, y.P99-x.P99)
	}
	row("latency", a.Before.LatencyMS, a.After.LatencyMS)
	stages := maps.Clone(a.Before.StagesMS)
	if stages == nil {
		stages = map[string]*Percentiles{}
	}
	maps.Copy(stages, a.After.StagesMS)
	for _, name := range slices.Sorted(maps.Keys(stages)) {
		row("server: "+name, a.Before.StagesMS[name], a.After.StagesMS[name])
	}
	t.Flush() // into memory
	bad := func(r Report) int { return r.Scheduled - r.Completed }
	fmt.Fprintf(&b, "\nnot answered: %d of %d before, %d of %d after, %d of %d in the whole run\n",
		bad(a.Before), a.Before.Scheduled, bad(a.After), a.After.Scheduled, a.Bad, a.Scheduled)
	for _, f := range slices.Sorted(maps.Keys(a.After.Failures)) {
		fmt.Fprintf(&b, "  after, %s: %d\n", f, a.After.Failures[f])
	}
	_, err := io.WriteString(w, b.String())
	return err
}
