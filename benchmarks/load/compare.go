package load

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"
)

// ComparePlan says how two targets take turns: A B B A A B B A and so on, so
// that neither is always first and a drift of the machine meets both.
type ComparePlan struct {
	Pairs    int
	Pause    time.Duration // between blocks
	Profile  Profile       // of one block
	Arrivals Arrivals
	Seed     uint64
	// Closed, if not 0, makes each block a closed loop of so many connections.
	Closed int
	// PIDs are the processes of A and B, whose use is read; 0: not read.
	PIDs [2]int
	// Backends are what stands behind A and B; nil: not watched.
	Backends [2]Backend
}

// Blocks are the runs of a comparison, in the order in which they ran.
type Blocks struct {
	Plan ComparePlan
	Runs []Run
	Of   []int // 0 for A, 1 for B
	Pair []int
}

// Compare measures two targets in turns. What was measured before ctx ended is
// returned beside the error.
func (o Options) Compare(ctx context.Context, targets [2]Target, plan ComparePlan) (Blocks, error) {
	b := Blocks{Plan: plan}
	if plan.Pairs < 1 || plan.Pairs > 1000 {
		return b, fmt.Errorf("pairs: %d, must be 1 to 1000", plan.Pairs)
	}
	for pair := range plan.Pairs {
		// Both get the same schedule and the same content.
		s, err := NewSchedule(plan.Profile, plan.Arrivals, plan.Seed+uint64(pair))
		if err != nil {
			return b, err
		}
		for turn := range 2 {
			who := (pair + turn) % 2
			own := o
			own.PID, own.Backend = plan.PIDs[who], plan.Backends[who]
			var run Run
			if plan.Closed > 0 {
				own.Connections, own.MaxOutstanding = plan.Closed, max(own.MaxOutstanding, plan.Closed)
				run, err = own.Closed(ctx, targets[who], s.Length)
			} else {
				run, err = own.Open(ctx, targets[who], s)
			}
			if err != nil {
				return b, err
			}
			b.Runs, b.Of, b.Pair = append(b.Runs, run), append(b.Of, who), append(b.Pair, pair)
			if run.Broken != nil {
				return b, run.Broken
			}
			Roughly(ctx, plan.Pause)
		}
	}
	return b, nil
}

// Labels name the runs.
func (b Blocks) Labels() []string {
	var out []string
	for i := range b.Runs {
		out = append(out, fmt.Sprintf("%c, pair %d", 'A'+rune(b.Of[i]), b.Pair[i]+1))
	}
	return out
}

// Err says whether both targets were measured.
func (b Blocks) Err() error {
	var errs []error
	for who := range 2 {
		if runs := b.of(who); len(runs) > 0 {
			errs = append(errs, Merge(runs...).Err())
		}
	}
	return errors.Join(errs...)
}

func (b Blocks) of(who int) []Run {
	var runs []Run
	for i, r := range b.Runs {
		if b.Of[i] == who {
			runs = append(runs, r)
		}
	}
	return runs
}

// Comparison is what a comparison comes to.
type Comparison struct {
	A Report `json:"a"`
	B Report `json:"b"`
	// Ratios are B over A, by figure.
	Ratios map[string]*Ratio `json:"ratios"`
}

// comparedFigures are held against each other, in this order.
var comparedFigures = []struct {
	name string
	of   func(Report) float64
}{
	{"completed_per_s", func(r Report) float64 { return r.CompletedPer }},
	{"latency_p50", func(r Report) float64 { return r.LatencyMS.P50 }},
	{"latency_p95", func(r Report) float64 { return r.LatencyMS.P95 }},
	{"latency_p99", func(r Report) float64 { return r.LatencyMS.P99 }},
	{"service_p50", func(r Report) float64 { return r.ServiceMS.P50 }},
	{"cpu_s_per_1000", func(r Report) float64 {
		if r.Process == nil {
			return 0
		}
		return r.Process.CPUPer1000
	}},
}

// Summarise derives the comparison from blocks.
func (b Blocks) Summarise() Comparison {
	reports := [2][]Report{}
	for i, r := range b.Runs {
		reports[b.Of[i]] = append(reports[b.Of[i]], Summarise(r))
	}
	c := Comparison{A: Summarise(Merge(b.of(0)...)), B: Summarise(Merge(b.of(1)...)), Ratios: map[string]*Ratio{}}
	c.A.Label, c.B.Label = "A", "B"
	for _, f := range comparedFigures {
		var figures [2][]float64
		for who := range figures {
			for _, r := range reports[who] {
				v := 0.0 // of a block without an answer
				if r.LatencyMS != nil {
					v = f.of(r)
				}
				figures[who] = append(figures[who], v)
			}
		}
		if q := ratioOf(figures[0], figures[1], b.Plan.Seed); q != nil {
			c.Ratios[f.name] = q
		}
	}
	return c
}

// Text writes a comparison for people.
func (c Comparison) Text(w io.Writer) error {
	var b strings.Builder
	for _, r := range []Report{c.A, c.B} {
		if err := r.Text(&b); err != nil {
			return err
		}
		b.WriteString("\n")
	}
	b.WriteString("B over A, over pairs of blocks, 95 % interval\n")
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "figure\tratio\tinterval\tpairs\t")
	for _, f := range comparedFigures {
		if q := c.Ratios[f.name]; q != nil {
			fmt.Fprintf(t, "%s\t%.3f\t%.3f-%.3f\t%d\t\n", f.name, q.Ratio, q.Low, q.High, q.Pairs)
		}
	}
	t.Flush() // into memory
	_, err := io.WriteString(w, b.String())
	return err
}
