package preprocess

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/agiqa/agiqa/evaluation"
)

// Step is a part of the work.
type Step string

// The steps, in the order in which they are timed.
const (
	Decode Step = "decode"
	Resize Step = "resize"
	Whole  Step = "whole"
)

// Steps lists them all.
func Steps() []Step { return []Step{Decode, Resize, Whole} }

// Digest identifies a 224x224x3 result.
type Digest = [32]byte

// Cost is what one execution of a step took.
type Cost struct{ Wall, CPU time.Duration }

// Contestant does the steps on one image at a time.
type Contestant interface {
	Name() string
	// Does says whether it has this step for images of a format.
	Does(step Step, format string) bool
	// Exact says that its result is to be the others', in every bit.
	Exact() bool
	// Load makes data the current image and returns what becomes of it.
	Load(ctx context.Context, data []byte) (Digest, error)
	// Time executes a step once on the current image.
	Time(ctx context.Context, step Step) (Cost, error)
}

// Case is one image file.
type Case struct {
	Name          string
	Format        string
	Width, Height int
	Data          []byte
}

// Plan is how thoroughly to measure.
type Plan struct {
	Rounds  int // timed executions of each step by each contestant
	Warmups int // executions before them that do not count
}

// DefaultPlan takes about three minutes for a drawn set.
func DefaultPlan() Plan { return Plan{Rounds: 25, Warmups: 3} }

// Figures are the costs of one step, in milliseconds.
type Figures struct {
	Step        Step    `json:"step"`
	WallMedian  float64 `json:"wall_ms"`
	CPUMedian   float64 `json:"cpu_ms"`
	CPULow      float64 `json:"cpu_ms_p25"`
	CPUHigh     float64 `json:"cpu_ms_p75"`
	Allocations float64 `json:"allocations,omitempty"` // an execution; of our own process only
	Bytes       float64 `json:"bytes,omitempty"`

	cpu, wall []float64
}

// Ratio says how many times longer the rival took than we did.
type Ratio struct {
	Step   Step    `json:"step"`
	Ours   string  `json:"ours"`
	Rival  string  `json:"rival"`
	Median float64 `json:"median"` // of the rounds' ratios of processor time
	Low    float64 `json:"low"`    // bootstrap interval of that median, 95 %
	High   float64 `json:"high"`
	Wall   float64 `json:"wall_median"` // the same of wall-clock time
}

// CaseResult is everything about one image.
type CaseResult struct {
	Name    string               `json:"name"`
	Format  string               `json:"format"`
	Width   int                  `json:"width"`
	Height  int                  `json:"height"`
	Bytes   int                  `json:"bytes"`
	Equal   bool                 `json:"equal"` // every exact contestant gave the same bits
	Figures map[string][]Figures `json:"figures"`
	Ratios  []Ratio              `json:"ratios,omitempty"`
}

// Measure times every contestant on one image. rival, which may be nil and does
// every step, is who ours are held against.
func Measure(ctx context.Context, c Case, ours []Contestant, rival Contestant, plan Plan) (CaseResult, error) {
	result := CaseResult{Name: c.Name, Format: c.Format, Width: c.Width, Height: c.Height, Bytes: len(c.Data),
		Figures: map[string][]Figures{}}
	all := slices.Clone(ours)
	if rival != nil {
		all = append(all, rival)
	}
	var err error
	if result.Equal, err = loadAll(ctx, c, all); err != nil {
		return result, err
	}
	for _, step := range Steps() {
		taking := slices.DeleteFunc(slices.Clone(all), func(who Contestant) bool { return !who.Does(step, c.Format) })
		figures, err := rounds(ctx, taking, step, plan)
		if err != nil {
			return result, fmt.Errorf("%s, %s: %w", c.Name, step, err)
		}
		for i, who := range taking {
			if who != rival {
				if err := allocations(ctx, who, step, &figures[i]); err != nil {
					return result, err
				}
			}
			result.Figures[who.Name()] = append(result.Figures[who.Name()], figures[i])
		}
		if rival != nil {
			last := len(taking) - 1
			for i, who := range taking[:last] {
				result.Ratios = append(result.Ratios, ratio(step, who.Name(), rival.Name(), figures[i], figures[last]))
			}
		}
	}
	return result, nil
}

func loadAll(ctx context.Context, c Case, all []Contestant) (equal bool, err error) {
	var first *Digest
	equal = true
	for _, who := range all {
		d, err := who.Load(ctx, c.Data)
		if err != nil {
			return false, fmt.Errorf("%s, %s: %w", c.Name, who.Name(), err)
		}
		if !who.Exact() {
			continue
		}
		if first == nil {
			first = &d
		}
		equal = equal && d == *first
	}
	return equal, nil
}

// settling is how many untimed calls come before a timed one. A server's caches hold
// what it did last, not what a rival on the same core did: after Pillow's turn the
// first calls with a JPEG of 1024 pixels take 3.7, 3.6, 2.8 and then 2.5 ms, Pillow's
// 8.2, 8.1 and then 8.0.
const settling = 3

// rounds lets everyone execute the step once a round, in turns.
func rounds(ctx context.Context, all []Contestant, step Step, plan Plan) ([]Figures, error) {
	figures := make([]Figures, len(all))
	for round := range plan.Warmups + plan.Rounds {
		for i, who := range all {
			var cost Cost
			for range settling + 1 {
				var err error
				if cost, err = who.Time(ctx, step); err != nil {
					return nil, fmt.Errorf("%s: %w", who.Name(), err)
				}
			}
			if round >= plan.Warmups {
				figures[i].wall = append(figures[i].wall, milliseconds(cost.Wall))
				figures[i].cpu = append(figures[i].cpu, milliseconds(cost.CPU))
			}
		}
	}
	for i := range figures {
		f := &figures[i]
		f.Step, f.WallMedian = step, quantile(f.wall, 0.5)
		f.CPULow, f.CPUMedian, f.CPUHigh = quantile(f.cpu, 0.25), quantile(f.cpu, 0.5), quantile(f.cpu, 0.75)
	}
	return figures, nil
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

// allocations counts apart from the timing, since reading the counters stops
// the world.
func allocations(ctx context.Context, who Contestant, step Step, f *Figures) error {
	const n = 8
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range n {
		if _, err := who.Time(ctx, step); err != nil {
			return err
		}
	}
	runtime.ReadMemStats(&after)
	f.Allocations = float64(after.Mallocs-before.Mallocs) / n
	f.Bytes = float64(after.TotalAlloc-before.TotalAlloc) / n
	return nil
}

// ratio pairs the rounds, so that what slowed a whole round down cancels.
func ratio(step Step, ours, rival string, a, b Figures) Ratio {
	paired := func(a, b []float64) []float64 {
		r := make([]float64, len(a))
		for i := range a {
			r[i] = b[i] / a[i]
		}
		return r
	}
	cpu := paired(a.cpu, b.cpu)
	r := Ratio{Step: step, Ours: ours, Rival: rival, Wall: quantile(paired(a.wall, b.wall), 0.5)}
	rounds := evaluation.Bootstrap{Replicates: 1000, Confidence: 0.95, Seed: 1, Workers: 1}
	r.Median, r.Low, r.High = rounds.Interval(len(cpu), func(chosen []int) float64 {
		sample := make([]float64, len(chosen))
		for i, round := range chosen {
			sample[i] = cpu[round]
		}
		return quantile(sample, 0.5)
	})
	return r
}

// quantile interpolates between order statistics.
func quantile(v []float64, q float64) float64 {
	if len(v) == 0 {
		return 0
	}
	return evaluation.Quantile(slices.Sorted(slices.Values(v)), q)
}
