package stats

import (
	"cmp"
	"math"
	"slices"
)

// Observation is one value of a [GroupedSequence], with what may make it like
// others.
type Observation struct {
	Value  float64
	Prompt int    // images of one prompt share the number; below 0, in all or none: not known
	Scored int64  // when its image was scored, in any unit; 0 in all or none: not known
	Parts  []Part // by rater; their mean is Value
}

// Part is what one rater's label says.
type Part struct {
	Rater int
	Value float64
}

// GroupInterval is an interval of a mean that allows observations of one group to
// be alike.
type GroupInterval struct {
	By     string // ByImage to ByTails
	Groups int
	Interval
}

// What observations may be alike by. ByTails is the interval that rare large values
// cannot fool.
const (
	ByImage  = "image"
	ByPrompt = "prompt"
	ByRater  = "rater"
	ByTime   = "time"    // in which labels came
	ByScored = "scoring" // the time at which images were scored
	ByTails  = "tails"
)

// How many stretches of time are compared: those in which labels came, and those in
// which images were scored. With fewer of the latter a better arm takes longer; with
// more of them styles that come in bursts are taken for a difference (docs/statistics.md).
const (
	timeBlocks   = 8
	scoredBlocks = 12
)

// onceIn divides alpha for intervals that are not made for looking all the time: the
// panel hardly changes while labels come, and blocks of time are eighths at every
// moment. It allows for about four looks that tell something new.
const onceIn = 4

// OnceAt is the multiplier of standard errors for intervals by rater and by time, for
// a sequence at level alpha.
func OnceAt(alpha float64) float64 { return normalQuantile(1 - alpha/onceIn/2) }

// GroupedSequence is the confidence sequence of a mean whose observations may be
// alike by prompt, by rater and over time. Its interval is the widest of those that
// allow for one of these.
type GroupedSequence struct {
	options SequenceOptions
	raters  bool
	once    float64 // multiplier of the intervals by rater and by time

	moments Moments
	prompts Groups
	parts   Groups    // by rater
	values  []float64 // in order
	prefix  []float64 // sums of the first ones
	scored  scored
	looked  int             // observations at the last look
	seen    []GroupInterval // then
	running Interval
	sd      float64
}

// NewGroupedSequence takes options that are valid. Without byRater raters are taken
// as given: what is found holds for them.
func NewGroupedSequence(options SequenceOptions, byRater bool) *GroupedSequence {
	return &GroupedSequence{
		options: options, raters: byRater, once: OnceAt(options.Alpha), running: Everything(), prefix: []float64{0},
	}
}

// Add takes one observation; its values are finite.
func (g *GroupedSequence) Add(x Observation) error {
	n := g.moments.n
	if err := g.moments.Add(x.Value); err != nil {
		return err
	}
	g.values, g.prefix = append(g.values, x.Value), append(g.prefix, g.prefix[n]+x.Value)
	prompt := x.Prompt
	if prompt < 0 { // one of its own, apart from those that have a number
		prompt = n
	}
	g.prompts.Add(prompt, x.Value, 1)
	g.scored.add(x)
	for _, p := range x.Parts {
		g.parts.Add(p.Rater, p.Value, 1/float64(len(x.Parts)))
	}
	if n++; n < lookAtEach || n%lookEvery == 0 {
		g.look()
	}
	return nil
}

// Looks are taken after every observation at first, later after every tenth: an
// interval changes little by then.
const (
	lookAtEach = 1000
	lookEvery  = 10
)

func (g *GroupedSequence) ready() bool {
	return g.moments.n >= g.options.BurnIn && g.moments.squares > 0
}

// look makes the intervals of this moment.
func (g *GroupedSequence) look() {
	n := g.moments.n
	if !g.ready() || g.looked == n {
		return
	}
	g.looked, g.seen = n, g.seen[:0]
	multiplier, root := g.options.Multiplier(n), math.Sqrt(float64(n))
	widest := 0.0
	take := func(by string, groups int, reach float64) {
		widest = max(widest, reach)
		g.seen = append(g.seen, Around(by, groups, g.moments.mean, reach))
	}
	take(ByImage, n, multiplier*g.moments.SD()/root)
	if g.prompts.N() < n {
		take(ByPrompt, g.prompts.N(), StudentReach(multiplier, math.Floor(g.prompts.Effective())-1)*g.prompts.SE())
	}
	if g.raters && g.parts.N() > 0 {
		take(ByRater, g.parts.N(), StudentReach(g.once, math.Floor(g.parts.Effective())-1)*g.parts.SE())
	}
	take(ByTime, timeBlocks, StudentReach(g.once, timeBlocks-1)*BlockSE(g.prefix, timeBlocks))
	if sums, known := g.scored.prefix(); known {
		take(ByScored, scoredBlocks, StudentReach(g.once, scoredBlocks-1)*BlockSE(sums, scoredBlocks))
	}
	if g.sd = widest * root / multiplier; n >= g.options.First {
		g.running = g.running.and(g.current())
	}
}

// scored are values in the order in which their images were scored.
type scored struct {
	sorted, more []scoredValue // more came since they were sorted
	sums         []float64
}

type scoredValue struct {
	at    int64
	value float64
}

func (s *scored) add(x Observation) {
	if x.Scored != 0 {
		s.more = append(s.more, scoredValue{x.Scored, x.Value})
	}
}

// prefix returns the sums of the first values, and false where the order is not known.
// Images of one moment stay in the order in which they came.
func (s *scored) prefix() ([]float64, bool) {
	slices.SortStableFunc(s.more, func(a, b scoredValue) int { return cmp.Compare(a.at, b.at) })
	old, end := s.sorted, len(s.sorted)+len(s.more)
	s.sorted = append(s.sorted, s.more...)
	for i, k := len(old)-1, len(s.more)-1; k >= 0; { // from the end, in place
		end--
		if i >= 0 && old[i].at > s.more[k].at {
			s.sorted[end], i = old[i], i-1
		} else {
			s.sorted[end], k = s.more[k], k-1
		}
	}
	s.more = s.more[:0]
	s.sums = append(s.sums[:0], 0)
	for i, v := range s.sorted {
		s.sums = append(s.sums, s.sums[i]+v.value)
	}
	return s.sums, len(s.sorted) > 0
}

// Around is the interval of a group that reaches so far to each side of a mean; a
// reach that nothing is known of is infinite.
func Around(by string, groups int, mean, reach float64) GroupInterval {
	if math.IsNaN(reach) {
		reach = math.Inf(1)
	}
	return GroupInterval{by, groups, Interval{mean - reach, mean + reach}}
}

func (g *GroupedSequence) current() Interval {
	mean := g.moments.mean
	current := Interval{mean, mean}
	for _, i := range g.seen {
		current = current.Hull(i.Interval)
	}
	return current
}

// Intervals are those of this moment; none before the burn-in is over.
func (g *GroupedSequence) Intervals() []GroupInterval {
	if !g.ready() {
		return nil
	}
	g.look()
	return slices.Clone(g.seen)
}

// Tails is the [BettingInterval] of the observations so far, of which none can be
// farther from 0 than reach.
func (g *GroupedSequence) Tails(reach float64) GroupInterval {
	return GroupInterval{ByTails, g.moments.n, BettingInterval(g.values, reach, g.options.Alpha)}
}

// Values are the observations so far.
func (g *GroupedSequence) Values() []float64 { return g.values }

// Bounds is what is known now; SD is the standard deviation of an observation that
// would make a sequence of independent ones as wide.
func (g *GroupedSequence) Bounds() Bounds {
	b := Bounds{N: g.moments.n, Mean: g.moments.mean, SD: g.moments.SD(), Current: Everything(),
		Running: Everything()}
	if !g.ready() {
		return b
	}
	g.look()
	b.Ready, b.Current, b.Running, b.SD = true, g.current(), g.running, g.sd
	return b.settled()
}
