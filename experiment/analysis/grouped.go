package analysis

import (
	"math"

	"github.com/agiqa/agiqa/experiment/stats"
)

// Grouped is an interval of the effect that allows observations of one group to be
// alike. All of them have to agree before anything is decided.
type Grouped struct {
	By     string `json:"by"`     // image, prompt, rater, time (of labels), scoring (time of images); tails: rare large observations
	Groups int    `json:"groups"` // independent ones
	Low    Number `json:"low"`
	High   Number `json:"high"`
}

// mostJackknifed is into how many groups raters are put at most to leave each out.
const mostJackknifed = 50

// jackknifed is the interval by rater of figures that no rater has a part of: from
// the means without each rater, or group of raters.
func jackknifed(o observed, mean float64, options stats.SequenceOptions) stats.GroupInterval {
	groups := min(o.raters, mostJackknifed)
	if groups < 2 {
		return stats.Around(stats.ByRater, groups, mean, math.Inf(1))
	}
	var without stats.Moments
	for g := range groups {
		if err := without.Add(o.withoutRaters(func(rater int) bool { return rater%groups == g })); err != nil {
			return stats.Around(stats.ByRater, groups, mean, math.Inf(1)) // nothing is left without them
		}
	}
	n := float64(groups)
	se := math.Sqrt((n-1)*(n-1)/n) * without.SD()
	return stats.Around(stats.ByRater, groups, mean, stats.StudentReach(stats.OnceAt(options.Alpha), n-1)*se)
}

// tailsOf measures how few observations carry an effect.
func tailsOf(values []float64) Tails {
	t := Tails{Largest: unknown(), Skewness: unknown()}
	m, err := stats.MomentsOf(values)
	if err != nil || m.N() < 2 || m.Variance() == 0 {
		return t
	}
	var sum, largest, cubes float64
	for _, v := range values {
		if v != 0 {
			t.NonZero++
		}
		sum, largest = sum+math.Abs(v), max(largest, math.Abs(v))
		d := (v - m.Mean()) / m.SD()
		cubes += d * d * d
	}
	t.Largest, t.Skewness = Number(largest/sum), Number(cubes/float64(len(values)))
	return t
}
