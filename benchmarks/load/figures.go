package load

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Percentiles are of values in milliseconds, by the nearest rank: each is a
// value that was measured.
type Percentiles struct {
	Count int     `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P95   float64 `json:"p95"`
	P99   float64 `json:"p99"`
	P999  float64 `json:"p99.9"`
	Max   float64 `json:"max"`
}

// percentiles sorts values; of none it is nil.
func percentiles[T cmp.Ordered](values []T, milliseconds func(T) float64) *Percentiles {
	if len(values) == 0 {
		return nil
	}
	slices.Sort(values)
	at := func(share float64) float64 { return milliseconds(rank(values, share)) }
	sum := 0.0
	for _, v := range values {
		sum += milliseconds(v)
	}
	return &Percentiles{
		Count: len(values), Mean: round(sum / float64(len(values))),
		P50: at(0.5), P90: at(0.9), P95: at(0.95), P99: at(0.99), P999: at(0.999), Max: at(1),
	}
}

// rank is the smallest value that at least a share of all values do not
// exceed.
func rank[T any](sorted []T, share float64) T {
	// The subtrahend keeps 0.99*100 from becoming the hundredth.
	k := int(math.Ceil(share*float64(len(sorted)) - 1e-9))
	return sorted[min(max(k, 1), len(sorted))-1]
}

func durations(values []time.Duration) *Percentiles { return percentiles(values, inMS) }

func inMS(d time.Duration) float64 { return round(float64(d) / 1e6) }

// round keeps microseconds, which is as fine as the clocks are worth.
func round(ms float64) float64 { return math.Round(ms*1000) / 1000 }
