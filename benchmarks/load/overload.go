package load

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// OverloadPlan is a rate that a target can bear, a multiple of it, and the
// rate again: how it behaves when overloaded, and how soon it
// recovers.
type OverloadPlan struct {
	Rate      float64       // that it can bear
	Factor    float64       // how many times that is asked
	Phase     time.Duration // of each of the three
	Objective Objective
}

// Profile is the rate over time.
func (p OverloadPlan) Profile() Profile {
	return Profile{{p.Phase, p.Rate, p.Rate}, {p.Phase, p.Rate * p.Factor, p.Rate * p.Factor}, {p.Phase, p.Rate, p.Rate}}
}

// Validate reports invalid values.
func (p OverloadPlan) Validate() error {
	if !(p.Factor > 1 && p.Factor <= 1000) {
		return fmt.Errorf("factor: %g, must be above 1 and at most 1000", p.Factor)
	}
	if err := p.Profile().Validate(); err != nil {
		return err
	}
	return p.Objective.Validate()
}

// Phase is a third of an overload.
type Phase struct {
	Name      string  `json:"name"`
	OfferedPS float64 `json:"offered_per_s"`
	Scheduled int     `json:"scheduled"`
	Completed int     `json:"completed"`
	Refused   int     `json:"refused"` // 429, 503 and [Busy]: the target rejected them
	Lost      int     `json:"lost"`    // everything else: errors, dropped, unsent
	// GoodputPS is completed within the objective's latency, per second.
	GoodputPS float64      `json:"goodput_per_s"`
	Accepted  *Percentiles `json:"accepted_ms"` // latency of completed requests
	Refusal   *Percentiles `json:"refusal_ms"`  // of refusals, from when a connection took them
}

// Overloaded is what an overload comes to.
type Overloaded struct {
	Objective Objective `json:"objective"`
	Factor    float64   `json:"factor"`
	Phases    []Phase   `json:"phases"` // before, overload, after
	// GoodputShare is the goodput under overload over that before.
	GoodputShare float64 `json:"goodput_share"`
	// RecoveryS is how long after the overload ended the objective was met for
	// good; null: not in the time that was watched.
	RecoveryS *float64 `json:"recovery_s"`
	Report    Report   `json:"report"`
}

// recoveryWindow is how finely recovery is seen.
const recoveryWindow = 500 * time.Millisecond

// Summarise derives the figures from a run of the plan's profile.
func (p OverloadPlan) Summarise(run Run) Overloaded {
	out := Overloaded{Objective: p.Objective, Factor: p.Factor, Report: Summarise(run)}
	for i, name := range []string{"before", "overload", "after"} {
		from := time.Duration(i) * p.Phase
		out.Phases = append(out.Phases, p.phase(name, dueWithin(run.Records, from, from+p.Phase)))
	}
	if before := out.Phases[0].GoodputPS; before > 0 {
		out.GoodputShare = round(out.Phases[1].GoodputPS / before)
	}
	out.RecoveryS = p.recovery(run.Records)
	return out
}

func (p OverloadPlan) phase(name string, records []Record) Phase {
	ph := Phase{Name: name, Scheduled: len(records), OfferedPS: round(float64(len(records)) / p.Phase.Seconds())}
	var accepted, refusal []time.Duration
	good := 0
	for _, r := range records {
		switch {
		case r.Outcome == Completed:
			ph.Completed++
			accepted = append(accepted, r.Latency())
			if r.Latency() <= p.Objective.Latency {
				good++
			}
		case r.Outcome == Failed && (r.Status == 429 || r.Status == 503 || r.Failure == Busy):
			ph.Refused++
			refusal = append(refusal, r.Done-r.Start)
		default:
			ph.Lost++
		}
	}
	ph.GoodputPS = round(float64(good) / p.Phase.Seconds())
	ph.Accepted, ph.Refusal = durations(accepted), durations(refusal)
	return ph
}

// recovery finds the first window from which on every one meets the objective.
func (p OverloadPlan) recovery(records []Record) *float64 {
	begin, end := 2*p.Phase, 3*p.Phase
	recovered := end
	for at := end - recoveryWindow; at >= begin; at -= recoveryWindow {
		window := dueWithin(records, at, at+recoveryWindow)
		if len(window) > 0 && !p.Objective.Met(window) {
			break
		}
		recovered = at
	}
	if recovered == end {
		return nil
	}
	s := seconds(recovered - begin)
	return &s
}

// dueWithin returns the records due from one time to before another. They are
// in order of when they were due.
func dueWithin(records []Record, from, to time.Duration) []Record {
	first, last := 0, 0
	for i, r := range records {
		if r.Due < from {
			first = i + 1
		}
		if r.Due < to {
			last = i + 1
		}
	}
	return records[first:max(first, last)]
}

// Text writes the figures for people.
func (out Overloaded) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "objective: %s; overload: %g times the rate\n\n", out.Objective, out.Factor)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "phase\toffered/s\tgoodput/s\tscheduled\tcompleted\trefused\tlost\taccepted p50 ms\tp99 "+
		"ms\trefusal p99 ms\t")
	for _, p := range out.Phases {
		accepted, refusal := orNone(p.Accepted), orNone(p.Refusal)
		fmt.Fprintf(t, "%s\t%.6g\t%.6g\t%d\t%d\t%d\t%d\t%.3f\t%.3f\t%.3f\t\n", p.Name, p.OfferedPS, p.GoodputPS, p.Scheduled,
			p.Completed, p.Refused, p.Lost, accepted.P50, accepted.P99, refusal.P99)
	}
	t.Flush() // into memory
	fmt.Fprintf(&b, "\ngoodput under overload: %.1f %% of that before\n", 100*out.GoodputShare)
	if out.RecoveryS != nil {
		fmt.Fprintf(&b, "recovered %gs after the overload ended (in steps of %s)\n\n", *out.RecoveryS, recoveryWindow)
	} else {
		b.WriteString("did not recover while it was observed\n\n")
	}
	if err := out.Report.Text(&b); err != nil {
		return err
	}
	_, err := io.WriteString(w, b.String())
	return err
}
