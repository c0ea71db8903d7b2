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

// Text writes a report for people.
func (out Report) Text(w io.Writer) error {
	var b strings.Builder
	loop := "open loop: latency counts from when a request was due"
	if out.Loop == ClosedLoop {
		loop = "CLOSED LOOP: latency counts from when a request was sent"
	}
	if out.Label != "" {
		fmt.Fprintf(&b, "%s  ", out.Label)
	}
	fmt.Fprintf(&b, "%s\n%s\n\n", out.Target, loop)
	fmt.Fprintf(&b,
		"scheduled %d (%.6g/s for %gs) = completed %d (%.6g/s) + errors %d + dropped %d + unsent %d; sent %d\n",
		out.Scheduled, out.OfferedPerS, out.DurationS, out.Completed, out.CompletedPer, out.Errors,
		out.Dropped, out.Unsent, out.Sent)
	for _, f := range slices.Sorted(maps.Keys(out.Failures)) {
		fmt.Fprintf(&b, "  %s: %d\n", f, out.Failures[f])
	}
	b.WriteString("\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "ms\tp50\tp90\tp95\tp99\tp99.9\tmax\tmean\tcount\t")
	row := func(name string, p *Percentiles) {
		if p != nil {
			fmt.Fprintf(t, "%s\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%.3f\t%d\t\n", name, p.P50, p.P90, p.P95, p.P99,
				p.P999, p.Max, p.Mean, p.Count)
		}
	}
	row("latency", out.LatencyMS)
	row("errors' latency", out.ErrorLatencyMS)
	row("service", out.ServiceMS)
	row("first byte", out.FirstByteMS)
	row("late", out.LateMS)
	row("late by generator", out.OwnLateMS)
	for _, name := range slices.Sorted(maps.Keys(out.StagesMS)) {
		row("server: "+name, out.StagesMS[name])
	}
	t.Flush() // into memory
	if p := out.Process; p != nil {
		fmt.Fprintf(&b,
			"target's processes: %.2f CPU s, %.3f CPU s per 1000 completed, %d kB resident, %d file descriptors\n", p.CPUS,
			p.CPUPer1000, p.RSSKB, p.FDs)
	}
	out.backend(&b)
	for _, warning := range out.Warnings {
		fmt.Fprintf(&b, "note: %s\n", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// Allotment says what of the machine the generator had; "" of a manifest that
// does not know.
func (m Manifest) Allotment() string {
	if m.AllowedProcessors == 0 {
		return ""
	}
	return fmt.Sprintf(" (generator: %d, GOMAXPROCS %d)", m.AllowedProcessors, m.GOMAXPROCS)
}

// Text writes what ran, for the head of a report.
func (m Manifest) Text(w io.Writer) error {
	_, err := fmt.Fprintf(w, "%s, commit %s, %s %s, %d x %s%s, load before %s\n%s\nseed %d\n\n",
		m.Time.Format(time.RFC3339), m.Commit, m.Go, m.OS, m.Processors, m.Processor, m.Allotment(),
		m.LoadBefore, m.Command, m.Seed)
	return err
}
