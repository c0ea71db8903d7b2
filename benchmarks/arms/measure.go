package arms

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"
)

// Plan is how much is measured.
type Plan struct {
	Of       string        `json:"of"`          // what is counted: "checkpoints" or "views"
	Counts   []int         `json:"counts"`      // of a request, the first being the measure of the others
	Warmup   int           `json:"warmup"`      // requests of each count before the clock counts
	Duration time.Duration `json:"duration_ns"` // of all together
	Seed     uint64        `json:"seed"`        // of the order within a round
}

// DefaultPlan takes a minute and a half.
func DefaultPlan() Plan {
	return Plan{Of: "checkpoints", Counts: []int{1, 2, 8, 32}, Warmup: 5, Duration: 90 * time.Second, Seed: 1}
}

// Manifest says what was measured, where and how.
type Manifest struct {
	Time       time.Time `json:"time"`
	Command    string    `json:"command"`
	Commit     string    `json:"commit"`
	Go         string    `json:"go"`
	OS         string    `json:"os"`
	Processors int       `json:"processors"`
	Triton     string    `json:"triton"`
	Encoder    string    `json:"encoder"`
	Dim        int       `json:"embedding_dim"`
	Plan       Plan      `json:"plan"`
}

// NewManifest fills in what this process knows.
func NewManifest(now time.Time, command, commit string, plan Plan) Manifest {
	return Manifest{
		Time: now.UTC().Truncate(time.Second), Command: command, Commit: commit, Go: runtime.Version(),
		OS: runtime.GOOS + "/" + runtime.GOARCH, Processors: runtime.NumCPU(), Plan: plan,
	}
}

// Result is one count's.
type Result struct {
	Count        int     `json:"count"`
	Requests     int     `json:"requests"`
	PerSecond    float64 `json:"images_per_second"` // one client, one image a request
	MeanMS       float64 `json:"mean_ms"`
	P50MS        float64 `json:"p50_ms"`
	P99MS        float64 `json:"p99_ms"`
	MeanRatio    float64 `json:"mean_ratio"`   // to the first count
	MedianPaired float64 `json:"paired_ratio"` // median over rounds of the ratio to the first count's request of that round
}

// Report is a run.
type Report struct {
	Manifest Manifest `json:"manifest"`
	Results  []Result `json:"results"`
}

// Measure calls ask for every count once a round, in an order drawn anew, until
// the plan's time is over; image numbers the round, so that all counts see the
// same image.
func Measure(ctx context.Context, p Plan,
	ask func(ctx context.Context, image, count int) error) ([]Result, error) {
	for i := range p.Warmup {
		for _, n := range p.Counts {
			if err := ask(ctx, i, n); err != nil {
				return nil, fmt.Errorf("%d %s: %w", n, p.Of, err)
			}
		}
	}
	random := rand.New(rand.NewPCG(p.Seed, 0))
	took := make([][]float64, len(p.Counts)) // milliseconds, by count and round
	for start, round := time.Now(), 0; round == 0 || time.Since(start) < p.Duration; round++ {
		for _, k := range random.Perm(len(p.Counts)) {
			begun := time.Now()
			if err := ask(ctx, p.Warmup+round, p.Counts[k]); err != nil {
				return nil, fmt.Errorf("%d %s: %w", p.Counts[k], p.Of, err)
			}
			took[k] = append(took[k], float64(time.Since(begun).Microseconds())/1000)
		}
	}
	return Summarise(p.Counts, took), nil
}

// Summarise makes results of milliseconds by count and round.
func Summarise(counts []int, took [][]float64) []Result {
	var out []Result
	for k, n := range counts {
		ratios := make([]float64, len(took[k]))
		var sum float64
		for i, ms := range took[k] {
			ratios[i] = ms / took[0][i]
			sum += ms
		}
		r := Result{
			Count: n, Requests: len(took[k]), MeanMS: sum / float64(len(took[k])),
			P50MS: quantile(took[k], .5), P99MS: quantile(took[k], .99), MedianPaired: quantile(ratios, .5),
		}
		r.PerSecond, r.MeanRatio = 1000/r.MeanMS, 1
		if k > 0 {
			r.MeanRatio = r.MeanMS / out[0].MeanMS
		}
		out = append(out, r)
	}
	return out
}

// quantile is the smallest value that at least a share q does not exceed.
func quantile(values []float64, q float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	for i, v := range sorted {
		if float64(i+1) >= q*float64(len(sorted)) {
			return v
		}
	}
	return 0
}
