package load

import (
	"fmt"
	"slices"
	"time"
)

// Objective is what a service promises: at the quantile, a latency from when
// requests were due; and how large a share may not be answered.
type Objective struct {
	Quantile float64       `json:"quantile"`
	Latency  time.Duration `json:"latency_ns"`
	BadShare float64       `json:"bad_share"`
}

// DefaultObjective is 99 % within a quarter of a second, one in a thousand
// unanswered.
func DefaultObjective() Objective {
	return Objective{Quantile: 0.99, Latency: 250 * time.Millisecond, BadShare: 0.001}
}

// Validate refuses an objective that nothing or everything meets.
func (o Objective) Validate() error {
	if !(o.Quantile > 0 && o.Quantile < 1) || o.Latency <= 0 || !(o.BadShare >= 0 && o.BadShare < 1) {
		return fmt.Errorf("objective: quantile %g must be between 0 and 1, latency %s positive, bad share %g from 0 to "+
			"below 1", o.Quantile, o.Latency, o.BadShare)
	}
	return nil
}

func (o Objective) String() string {
	return fmt.Sprintf("p%g <= %s, at most %g %% not answered", o.Quantile*100, o.Latency, o.BadShare*100)
}

// Met reports whether records, all of them scheduled requests, meet it.
func (o Objective) Met(records []Record) bool {
	var latencies []time.Duration
	for _, r := range records {
		if r.Outcome == Completed {
			latencies = append(latencies, r.Latency())
		}
	}
	if bad := len(records) - len(latencies); len(latencies) == 0 || float64(bad) > o.BadShare*float64(len(records)) {
		return false
	}
	slices.Sort(latencies)
	return rank(latencies, o.Quantile) <= o.Latency
}
