package load

import (
	"context"
	"fmt"
	"io"
	"math"
	"strings"
	"text/tabwriter"
	"time"
)

// KneePlan says how the highest rate within an objective is looked for.
type KneePlan struct {
	Start     float64 // requests per second; doubled or halved from there
	Max       float64 // no rate above it is tried
	Precision float64 // the knee is found to this share of itself
	Probe     time.Duration
	Pause     time.Duration // between probes
	Arrivals  Arrivals
	Seed      uint64
	Objective Objective
}

// maxProbes bounds a search: doublings, halvings and bisections together.
const maxProbes = 40

// Validate reports invalid values.
func (p KneePlan) Validate() error {
	if !(p.Start > 0) || !(p.Max >= p.Start) || !(p.Precision > 0 && p.Precision < 1) || p.Probe <= 0 {
		return fmt.Errorf("knee: rate %g must be positive and at most max-rate %g, precision %g between 0 and 1, duration "+
			"%s positive",
			p.Start, p.Max, p.Precision, p.Probe)
	}
	return p.Objective.Validate()
}

// Probe is one rate that was tried.
type Probe struct {
	Rate   float64 `json:"rate"`
	Met    bool    `json:"met"`
	Report Report  `json:"report"`
}

// Knee is the highest rate that was found to meet an objective.
type Knee struct {
	Objective Objective `json:"objective"`
	// Rate met the objective twice; 0: none did.
	Rate float64 `json:"rate"`
	// Above is the lowest rate that did not; 0: none failed, and the knee lies
	// above Rate.
	Above float64 `json:"above"`
	// CPUPer1000 and CompletedPerCPUS are of the target's processes in the probe
	// that confirmed Rate: processor seconds for a thousand completed requests,
	// and completed requests for a processor second, which is per core and
	// second. 0: no process was watched ([Options.PID]), or no rate confirmed.
	CPUPer1000       float64 `json:"cpu_s_per_1000,omitempty"`
	CompletedPerCPUS float64 `json:"completed_per_cpu_s,omitempty"`
	Probes           []Probe `json:"probes"`
	// GeneratorLate says that the generator, not the target, may be what failed.
	GeneratorLate bool     `json:"generator_late"`
	Warnings      []string `json:"warnings"`
}

// FindKnee looks for the highest rate within the objective: it doubles until a
// probe fails, bisects, and confirms what it found with a second probe, twice
// as long. The runs are returned in the order of the probes.
func (o Options) FindKnee(ctx context.Context, target Target, plan KneePlan) (Knee, []Run, error) {
	if err := plan.Validate(); err != nil {
		return Knee{}, nil, err
	}
	k := kneeSearch{o: o, target: target, plan: plan, knee: Knee{Objective: plan.Objective, Warnings: []string{}}}
	err := k.search(ctx)
	if k.knee.GeneratorLate {
		k.knee.Warnings = append(k.knee.Warnings,
			"the generator itself was late in a failed probe: the knee may be the generator's")
	}
	if k.knee.Above == 0 && k.knee.Rate > 0 {
		k.knee.Warnings = append(k.knee.Warnings, "no rate failed: the knee is higher")
	}
	return k.knee, k.runs, err
}

type kneeSearch struct {
	o      Options
	target Target
	plan   KneePlan
	knee   Knee
	runs   []Run
}

func (k *kneeSearch) search(ctx context.Context) error {
	low, high := 0.0, 0.0 // met, not met
	for rate := k.plan.Start; len(k.runs) < maxProbes; {
		rate = math.Round(rate*100) / 100
		met, err := k.probe(ctx, rate, k.plan.Probe)
		if err != nil {
			return err
		}
		if met {
			low = rate
		} else {
			high = rate
		}
		switch {
		case high == 0 && rate >= k.plan.Max:
			return k.confirm(ctx, low, high)
		case high == 0:
			rate = min(2*rate, k.plan.Max)
		case low == 0:
			// A rate that has less than one request in a probe cannot be tried.
			if rate /= 2; rate*k.plan.Probe.Seconds() < 1 {
				k.knee.Above = high
				return nil
			}
		case high/low <= 1+k.plan.Precision:
			return k.confirm(ctx, low, high)
		default:
			rate = math.Sqrt(low * high)
		}
	}
	return k.confirm(ctx, low, high)
}

// confirm steps down until a longer probe meets the objective as well.
func (k *kneeSearch) confirm(ctx context.Context, low, high float64) error {
	for low > 0 && len(k.runs) < maxProbes+8 {
		met, err := k.probe(ctx, low, 2*k.plan.Probe)
		if err != nil {
			return err
		}
		if met {
			k.knee.Rate, k.knee.Above = low, high
			if r := k.knee.Probes[len(k.knee.Probes)-1].Report; r.Process != nil && r.Process.CPUS > 0 {
				k.knee.CPUPer1000, k.knee.CompletedPerCPUS = r.Process.CPUPer1000, round(float64(r.Completed)/r.Process.CPUS)
			}
			return nil
		}
		high, low = low, math.Floor(low/(1+k.plan.Precision)*100)/100
	}
	k.knee.Above = high
	return nil
}

func (k *kneeSearch) probe(ctx context.Context, rate float64, d time.Duration) (met bool, err error) {
	s, err := NewSchedule(Constant(rate, d), k.plan.Arrivals, k.plan.Seed+uint64(len(k.runs)))
	if err != nil {
		return false, err
	}
	run, err := k.o.Open(ctx, k.target, s)
	if err != nil {
		return false, err
	}
	if run.Broken != nil {
		return false, run.Broken
	}
	if len(k.runs) == 0 {
		if err := run.Err(); err != nil {
			return false, err // nothing works at all: that is no capacity
		}
	}
	p := Probe{Rate: rate, Met: k.plan.Objective.Met(run.Records), Report: Summarise(run)}
	if late := p.Report.OwnLateMS; !p.Met && late != nil && late.P99 > inMS(k.plan.Objective.Latency)/5 {
		k.knee.GeneratorLate = true
	}
	k.knee.Probes, k.runs = append(k.knee.Probes, p), append(k.runs, run)
	Roughly(ctx, k.plan.Pause)
	return p.Met, nil
}

// Text writes a knee for people.
func (k Knee) Text(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "objective: %s\n\n", k.Objective)
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "rate/s\tmet\tscheduled\tcompleted\terrors\tdropped\tunsent\tp50 ms\tp99 ms\town late p99 ms\t")
	for _, p := range k.Probes {
		r := p.Report
		latency, own := orNone(r.LatencyMS), orNone(r.OwnLateMS)
		fmt.Fprintf(t, "%.6g\t%v\t%d\t%d\t%d\t%d\t%d\t%.3f\t%.3f\t%.3f\t\n", p.Rate, p.Met, r.Scheduled, r.Completed,
			r.Errors, r.Dropped, r.Unsent, latency.P50, latency.P99, own.P99)
	}
	t.Flush() // into memory
	switch {
	case k.Rate == 0:
		fmt.Fprintf(&b, "\nno rate met the objective; the lowest one tried: %.6g/s\n", k.Above)
	case k.Above == 0:
		fmt.Fprintf(&b, "\nknee: above %.6g/s\n", k.Rate)
	default:
		fmt.Fprintf(&b, "\nknee: %.6g/s (%.6g/s failed)\n", k.Rate, k.Above)
	}
	if k.CPUPer1000 > 0 {
		fmt.Fprintf(&b, "at the knee: %.3f CPU s of the target's processes per 1000 completed, %.6g completed/s per core\n",
			k.CPUPer1000, k.CompletedPerCPUS)
	}
	if n := len(k.Probes); n > 0 {
		switch last := k.Probes[n-1].Report; {
		case last.Split != nil:
			fmt.Fprintf(&b, "in the last probe, %s\n", last.Split)
		case len(last.Triton) > 0:
			b.WriteString("in the last probe:\n")
			last.backend(&b)
		}
	}
	for _, warning := range k.Warnings {
		fmt.Fprintf(&b, "note: %s\n", warning)
	}
	_, err := io.WriteString(w, b.String())
	return err
}
