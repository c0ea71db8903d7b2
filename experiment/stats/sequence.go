package stats

import "math"

// SequenceOptions are fixed before the first observation: choosing them by what
// was seen breaks the guarantee.
type SequenceOptions struct {
	Alpha   float64 // chance of ever missing the true mean, between 0 and 1
	Horizon float64 // N*: about how many observations the sequence is made narrowest for
	BurnIn  int     // observations before anything is said; at least 2
	// First is the number of observations from which intervals are intersected. Before
	// it nothing is acted upon, so that an early interval must not bind later ones.
	First int
	// Events is how many values above 0, and how many below 1, each of two arms must
	// have before anything is said: of shares, where one outcome may be rare, the
	// normal approximation needs it. It is for [TwoSampleSequence].
	Events int
	// OneSided leaves the interval without an upper end: the mean is at least its
	// lower end.
	OneSided bool
}

// DefaultSequenceOptions are two-sided, 5 %, tuned for 1,000 observations, and
// give no interval for the first 100.
func DefaultSequenceOptions() SequenceOptions {
	return SequenceOptions{Alpha: 0.05, Horizon: 1000, BurnIn: 100}
}

// Validate names the first setting that cannot be used.
func (o SequenceOptions) Validate() error {
	if err := checkShare("alpha", o.Alpha); err != nil {
		return err
	}
	if o.OneSided && o.Alpha >= 0.5 {
		return fault("alpha", "%v is not below 0.5, as a one-sided sequence needs", o.Alpha)
	}
	if err := checkPositive("horizon", o.Horizon); err != nil {
		return err
	}
	if o.BurnIn < 2 {
		return fault("burn-in", "%d is below 2", o.BurnIn)
	}
	return nil
}

// rho is the mixture's scale that makes the sequence narrowest about
// observation N* (Waudby-Smith et al., arXiv 2103.06476, appendix on tuning).
// A one-sided sequence spends the alpha of one end.
func (o SequenceOptions) rho() float64 {
	alpha := o.Alpha
	if o.OneSided {
		alpha *= 2
	}
	l := -2 * math.Log(alpha)
	return math.Sqrt((l + math.Log(l+1)) / o.Horizon)
}

// halfWidth is the distance of an end from the mean after n observations with
// the given standard deviation, in its unit:
//
//	two-sided: sd * sqrt(2(n r² + 1)/(n² r²) * log(sqrt(n r² + 1)/alpha))
//	one-sided: sd * sqrt(2(n r² + 1)/(n² r²) * log(1 + sqrt(n r² + 1)/(2 alpha)))
//
// r = sqrt((-2 log a + log(-2 log a + 1))/N*), where a is alpha, one-sided 2 alpha.
// Source: Waudby-Smith, Arbour, Sinha, Kennedy, Ramdas, "Time-uniform central
// limit theory and asymptotic confidence sequences", arXiv 2103.06476, theorem 2.2
// and its one-sided form; the latter is the bound of Howard, Ramdas, McAuliffe and
// Sekhon (2021, eq. 14). It is asymptotic, so it needs a burn-in.
func (o SequenceOptions) halfWidth(n, sd, rho float64) float64 {
	grown := n*rho*rho + 1
	evidence := math.Log(math.Sqrt(grown) / o.Alpha)
	if o.OneSided {
		evidence = math.Log1p(math.Sqrt(grown) / (2 * o.Alpha))
	}
	return sd * math.Sqrt(2*grown*evidence) / (n * rho)
}

// around is the interval of a mean.
func (o SequenceOptions) around(mean, half float64) Interval {
	if o.OneSided {
		return Interval{mean - half, math.Inf(1)}
	}
	return Interval{mean - half, mean + half}
}

// Sequence is an asymptotic confidence sequence of a mean: with probability
// 1-alpha its intervals hold the mean after every observation at once, so it may
// be read after each, and acted upon.
//
// Observations are independent and of one distribution, one a unit: the
// difference of two arms' losses on one image, averaged over the image's labels.
// The value is not safe for several goroutines.
type Sequence struct {
	options SequenceOptions
	rho     float64
	moments Moments
	running Interval
}

// NewSequence takes options that are valid (see [SequenceOptions.Validate]).
func NewSequence(options SequenceOptions) *Sequence {
	return &Sequence{options: options, rho: options.rho(), running: Everything()}
}

// Add takes one finite observation.
func (s *Sequence) Add(value float64) error {
	if err := s.moments.Add(value); err != nil {
		return err
	}
	if s.ready() && s.moments.n >= s.options.First {
		s.running = s.running.and(s.current())
	}
	return nil
}

// ready reports whether the sequence says anything: the burn-in is over, and the
// observations differ.
func (s *Sequence) ready() bool {
	return s.moments.n >= s.options.BurnIn && s.moments.squares > 0
}

func (s *Sequence) current() Interval {
	half := s.options.halfWidth(float64(s.moments.n), s.moments.SD(), s.rho)
	return s.options.around(s.moments.mean, half)
}

// Bounds is what is known now.
func (s *Sequence) Bounds() Bounds {
	b := Bounds{N: s.moments.n, Mean: s.moments.Mean(), SD: s.moments.SD(), Current: Everything(), Running: Everything()}
	if !s.ready() {
		return b
	}
	b.Ready, b.Current, b.Running = true, s.current(), s.running
	return b.settled()
}

// Bounds is the state of a confidence sequence.
type Bounds struct {
	N    int     // observations
	Mean float64 // of them, 0 when there is none
	SD   float64
	// Current is the interval of this moment.
	Current Interval
	// Running is the intersection of all intervals so far, which never grows
	// again. It is the one to decide by.
	Running Interval
	// Ready is false while nothing is said yet; both intervals are then infinite.
	Ready bool
	// Contradicted says that intervals were seen that have no point in common:
	// the mean moved, or the assumptions do not hold. Running is then Current.
	Contradicted bool
}

// settled replaces an empty intersection.
func (b Bounds) settled() Bounds {
	if b.Running.Low > b.Running.High {
		b.Contradicted, b.Running = true, b.Current
	}
	return b
}

// and is the intersection; Low is above High when it is empty.
func (i Interval) and(o Interval) Interval {
	return Interval{max(i.Low, o.Low), min(i.High, o.High)}
}
