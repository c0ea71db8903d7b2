package stats

import "math"

// BoundedOptions are fixed before the first observation.
type BoundedOptions struct {
	Alpha     float64 // chance of ever missing the true mean, between 0 and 1
	Low, High float64 // every observation lies within
	// Cells is how finely means are told apart: ends are multiples of
	// (High-Low)/Cells. An observation costs that many steps.
	Cells int
	Side  Side
}

// DefaultBoundedOptions are 5 %, values of 0 to 1, ends to a thousandth, two-sided.
func DefaultBoundedOptions() BoundedOptions {
	return BoundedOptions{Alpha: 0.05, Low: 0, High: 1, Cells: 1000, Side: TwoSided}
}

// Validate names the first setting that cannot be used.
func (o BoundedOptions) Validate() error {
	if err := checkShare("alpha", o.Alpha); err != nil {
		return err
	}
	if !finite(o.Low) || !finite(o.High) || !(o.Low < o.High) {
		return fault("bounds", "%v to %v is no interval", o.Low, o.High)
	}
	if o.Cells < 2 || o.Cells > 1_000_000 {
		return fault("cells", "%d is not within 2 to 1,000,000", o.Cells)
	}
	return o.Side.check()
}

// most is the largest share of what could be lost that is bet at once.
const most = 0.5

// BoundedSequence is a confidence sequence for the mean of bounded observations,
// exact at every sample size and for every distribution whose conditional mean
// stays: the hedged capital of bets that the mean is not m, for a grid of m
// (Waudby-Smith and Ramdas, "Estimating means of bounded random variables by
// betting", JRSS B 2024, arXiv 2010.09686, section 4.4 and theorem 3, with
// predictable plug-in bets, eq. 26, cut at 1/2). It is the check of [Sequence] where
// few observations or heavy tails leave that in doubt; it is a little wider.
//
// The capital that bets the mean is above m falls with m, the other one rises with
// it, so the means left over are an interval; its ends are moved outwards to the
// next point of the grid that is ruled out. It is a running intersection by itself.
// The value is not safe for several goroutines.
type BoundedSequence struct {
	options      BoundedOptions
	above, below []float64 // by grid point: log capital of bets that the mean is above, below
	low, high    int       // the first and last grid points not ruled out
	limit        float64
	seen         Moments // scaled to 0 to 1
	// The plug-in bet's own mean and variance, begun at 1/2 and 1/4.
	sum, spread float64
}

// NewBoundedSequence checks the options.
func NewBoundedSequence(options BoundedOptions) (*BoundedSequence, error) {
	if err := options.Validate(); err != nil {
		return nil, err
	}
	s := &BoundedSequence{
		options: options, above: make([]float64, options.Cells+1), below: make([]float64, options.Cells+1),
		low: 0, high: options.Cells, sum: 0.5, spread: 0.25,
	}
	s.limit = -math.Log(options.Alpha)
	if options.Side == TwoSided { // the two ends share the error
		s.limit += math.Ln2
	}
	return s, nil
}

// Add takes one observation within the bounds.
func (s *BoundedSequence) Add(value float64) error {
	if !(value >= s.options.Low && value <= s.options.High) {
		return fault("value", "%v is not within %v to %v", value, s.options.Low, s.options.High)
	}
	x := (value - s.options.Low) / (s.options.High - s.options.Low)
	t := float64(s.seen.n + 1)
	// The bet is made before x is looked at.
	bet := math.Sqrt(2 * s.limit / (s.spread * math.Log(t+1)))
	cells := float64(s.options.Cells)
	if s.options.Side != Upper {
		for g := s.low; g < len(s.above); g++ {
			m := float64(g) / cells
			s.above[g] += math.Log1p(min(bet, most/m) * (x - m))
		}
		for s.low < len(s.above) && s.above[s.low] >= s.limit {
			s.low++
		}
	}
	if s.options.Side != Lower {
		for g := s.high; g >= 0; g-- {
			m := float64(g) / cells
			s.below[g] += math.Log1p(min(bet, most/(1-m)) * (m - x))
		}
		for s.high >= 0 && s.below[s.high] >= s.limit {
			s.high--
		}
	}
	s.seen.add(x)
	s.sum += x
	d := x - s.sum/(t+1)
	s.spread += d * d
	return nil
}

// Bounds is what is known now. Ready is true from the first observation, and
// Current equals Running. Contradicted says that no mean is left: the mean moved.
// Both are then all that the options allow.
func (s *BoundedSequence) Bounds() Bounds {
	width := s.options.High - s.options.Low
	b := Bounds{N: s.seen.n, Ready: s.seen.n > 0, SD: s.seen.SD() * width}
	if s.seen.n > 0 {
		b.Mean = s.options.Low + width*s.seen.mean
	}
	// The end lies between a point that is ruled out and one that is not.
	low, high := max(0, s.low-1), min(s.options.Cells, s.high+1)
	if s.low > s.high+1 {
		low, high, b.Contradicted = 0, s.options.Cells, true
	}
	at := func(g int) float64 { return s.options.Low + width*float64(g)/float64(s.options.Cells) }
	b.Current = Interval{at(low), at(high)}
	b.Running = b.Current
	return b
}
