package stats

import "math"

// FewestEvents is how many values of the rarer kind each arm must have before the
// normal approximation of a share is trusted.
const FewestEvents = 30

// TwoSampleSequence is the asymptotic confidence sequence of the difference of two
// arms' means, treatment less control, over units that were assigned to one of
// them: [Sequence] for what cannot be paired. With n = n0 + n1 units the standard
// deviation is that of sqrt(n) times the difference, sqrt(n (v0/n0 + v1/n1)).
// Adjust for a covariate first ([CUPED]) with a theta that is fixed before.
// The value is not safe for several goroutines.
type TwoSampleSequence struct {
	options SequenceOptions
	rho     float64
	arms    [2]Moments
	above   [2]int // values above 0
	below   [2]int // values below 1
	running Interval
}

// NewTwoSampleSequence takes options that are valid. The burn-in holds for each arm.
func NewTwoSampleSequence(options SequenceOptions) *TwoSampleSequence {
	return &TwoSampleSequence{options: options, rho: options.rho(), running: Everything()}
}

// Add takes the value of one unit.
func (s *TwoSampleSequence) Add(treatment bool, value float64) error {
	arm := 0
	if treatment {
		arm = 1
	}
	if err := s.arms[arm].Add(value); err != nil {
		return err
	}
	if value > 0 {
		s.above[arm]++
	}
	if value < 1 {
		s.below[arm]++
	}
	if s.ready() && s.arms[0].n+s.arms[1].n >= s.options.First {
		s.running = s.running.and(s.current())
	}
	return nil
}

func (s *TwoSampleSequence) ready() bool {
	return min(s.arms[0].n, s.arms[1].n) >= s.options.BurnIn && s.sd() > 0 && s.Events() >= s.options.Events
}

// Events is the smallest number of values above 0, or below 1, of an arm.
func (s *TwoSampleSequence) Events() int {
	return min(s.above[0], s.above[1], s.below[0], s.below[1])
}

// sd is the standard deviation of one unit's part in the difference.
func (s *TwoSampleSequence) sd() float64 {
	a, b := s.arms[0], s.arms[1]
	if a.n == 0 || b.n == 0 {
		return 0
	}
	return math.Sqrt(float64(a.n+b.n) * (a.Variance()/float64(a.n) + b.Variance()/float64(b.n)))
}

func (s *TwoSampleSequence) difference() float64 {
	if s.arms[0].n == 0 || s.arms[1].n == 0 {
		return 0
	}
	return s.arms[1].mean - s.arms[0].mean
}

func (s *TwoSampleSequence) current() Interval {
	half := s.options.halfWidth(float64(s.arms[0].n+s.arms[1].n), s.sd(), s.rho)
	return s.options.around(s.difference(), half)
}

// Bounds is what is known now: N counts both arms, Mean is the difference.
func (s *TwoSampleSequence) Bounds() Bounds {
	b := Bounds{
		N: s.arms[0].n + s.arms[1].n, Mean: s.difference(), SD: s.sd(),
		Current: Everything(), Running: Everything(),
	}
	if !s.ready() {
		return b
	}
	b.Ready, b.Current, b.Running = true, s.current(), s.running
	return b.settled()
}
