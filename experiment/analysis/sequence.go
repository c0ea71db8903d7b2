package analysis

import (
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/stats"
)

const (
	burnIn = 100 // observations before a confidence sequence says anything
	// Rank correlations have no value for one image. They are looked at in blocks
	// of images, in the order of their first labels.
	blockSize   = 10
	burnInBlock = 30
	power       = 0.8 // of the labels to go and of the smallest effect
)

// Interval is a range that holds a figure with the stated confidence.
type Interval struct {
	Low  Number `json:"low"`
	High Number `json:"high"`
}

func intervalOf(i stats.Interval) Interval { return Interval{Number(i.Low), Number(i.High)} }

// Comparison is what is known of a treatment against the control, by the primary
// measure, at every moment: the sequence may be looked at as often as one likes.
// Effects are turned so that above 0 the treatment is better.
type Comparison struct {
	Arm          experiment.ArmID `json:"arm"`
	Basis        Basis            `json:"basis"`
	Unit         string           `json:"unit"`         // what one observation is
	Observations int              `json:"observations"` // so far
	Effect       Number           `json:"effect"`       // their mean
	SD           Number           `json:"sd"`           // of one observation, as the widest interval has it
	Confidence   Number           `json:"confidence"`   // of the intervals, after dividing alpha among the treatments
	Intervals    []Grouped        `json:"intervals"`    // of this moment, by what may be alike
	Current      Interval         `json:"current"`      // of this moment: all of them
	Running      Interval         `json:"running"`      // intersection of all current ones since there were min_labels
	Agreed       Interval         `json:"agreed"`       // of current and running, every point of either: decides
	Decision     stats.Decision   `json:"decision"`
	NonInferior  bool             `json:"non_inferior"` // harm beyond the margin is ruled out
	Contradicted bool             `json:"contradicted"` // intervals without a common point were seen: the effect moved
	LabelsToGo   Number           `json:"labels_to_go"` // observations until the sequence would leave out 0 if the effect were the smallest of interest
	Tails        Tails            `json:"tails"`
	Note         string           `json:"note,omitempty"`

	track []TrackPoint // for the report
}

// Tails say whether few observations carry the effect.
type Tails struct {
	NonZero  int    `json:"non_zero"` // observations in which the arms differ
	Largest  Number `json:"largest"`  // share of the largest observation in the sum of all sizes
	Skewness Number `json:"skewness"`
}

// treatments are the places of the arms that are compared with the control: those
// that no guardrail took out.
func (s *State) treatments() []int {
	var arms []int
	for i := range s.e.Arms {
		if i != s.control && !s.e.Arms[i].Out {
			arms = append(arms, i)
		}
	}
	return arms
}

// sequenceOptions of one treatment of several, for a unit of observation.
func (s *State) sequenceOptions() stats.SequenceOptions {
	o := stats.DefaultSequenceOptions()
	if s.e.Alpha > 0 && s.e.Alpha < 1 {
		o.Alpha = s.e.Alpha
	}
	// Among all treatments that there were: what a guardrail takes out leaves its share
	// to no other, whose labels were looked at before.
	o.Alpha /= float64(max(1, len(s.e.Arms)-1))
	if s.e.Horizon > 0 {
		o.Horizon = float64(s.e.Horizon)
	}
	// Nothing is decided before there are min_labels: an interval that was drawn
	// earlier must not bind a decision that could not be taken.
	o.BurnIn, o.First = burnIn, s.e.MinLabels
	if s.e.Primary == experiment.PrimarySRCC || s.e.Primary == experiment.PrimaryKRCC {
		o.Horizon, o.BurnIn, o.First = max(1, o.Horizon/blockSize), burnInBlock, o.First/blockSize
	}
	return o
}

// compare runs the sequence of every treatment over the labels of a view.
func (s *State) compare(v view, points int) []Comparison {
	treatments := s.treatments()
	observations := make([]observed, len(treatments))
	for i, arm := range treatments {
		observations[i] = s.observe(v, arm)
	}
	s.widen(observations)
	var all []Comparison
	for i, arm := range treatments {
		all = append(all, s.compareOn(observations[i], v, arm, points))
	}
	return all
}

func (s *State) compareOn(o observed, v view, arm, points int) Comparison {
	options := s.sequenceOptions()
	sequence := stats.NewGroupedSequence(options, !s.oneRater())
	c := Comparison{Arm: s.e.Arms[arm].ID, Basis: v.basis, Unit: o.unit}
	keep := kept(len(o.all), points)
	for i, x := range o.all {
		_ = sequence.Add(x) // scores and labels are bounded when they are read
		if keep(i + 1) {
			c.track = append(c.track, pointOf(sequence.Bounds()))
		}
	}
	b, intervals := sequence.Bounds(), sequence.Intervals()
	if b.Ready && o.withoutRaters != nil && !s.oneRater() {
		intervals = append(intervals, jackknifed(o, b.Mean, options))
	}
	if b.Ready && o.reach > 0 {
		intervals = append(intervals, sequence.Tails(o.reach))
	}
	for _, i := range intervals {
		c.Intervals = append(c.Intervals, Grouped{i.By, i.Groups, Number(i.Low), Number(i.High)})
		b.Current = b.Current.Hull(i.Interval)
	}
	c.Tails = tailsOf(sequence.Values())
	return s.conclude(c, b, options)
}

// oneRater says that the experiment takes its raters as given: it asks for one only.
func (s *State) oneRater() bool { return s.e.MinRaters <= 1 }

func pointOf(b stats.Bounds) TrackPoint {
	p := TrackPoint{N: b.N, Mean: Number(b.Mean), Low: unknown(), High: unknown(), RunningLow: unknown(),
		RunningHigh: unknown()}
	if b.Ready {
		p.Low, p.High = Number(b.Current.Low), Number(b.Current.High)
		p.RunningLow, p.RunningHigh = Number(b.Running.Low), Number(b.Running.High)
	}
	return p
}

// kept says which of n observations are drawn, so that there are about points.
func kept(n, points int) func(i int) bool {
	if points == 0 {
		return func(int) bool { return false }
	}
	every := max(1, (n+points-1)/points)
	return func(i int) bool { return i%every == 0 || i == n }
}

// conclude reads the bounds of a sequence and the intervals of this moment.
func (s *State) conclude(c Comparison, b stats.Bounds, options stats.SequenceOptions) Comparison {
	c.Confidence, c.Decision = Number(1-options.Alpha), stats.Continue
	c.Effect, c.SD, c.LabelsToGo = unknown(), unknown(), unknown()
	c.Observations, c.Contradicted = b.N, b.Contradicted
	if b.N > 0 {
		c.Effect, c.SD = Number(b.Mean), Number(b.SD)
	}
	agreed := b.Current.Hull(b.Running)
	c.Current, c.Running, c.Agreed = intervalOf(b.Current), intervalOf(b.Running), intervalOf(agreed)
	if s.e.MDE > 0 && b.SD > 0 {
		if need, err := stats.SequenceLabels(s.e.MDE, b.SD, options); err == nil {
			c.LabelsToGo = Number(max(0, need-b.N))
		}
	}
	if !b.Ready {
		c.Note = "not enough observations yet"
		if b.N >= options.BurnIn {
			c.Note = "the observations do not differ: the arms say the same"
		}
		return c
	}
	if b.Contradicted {
		c.Note = "intervals without a common point were seen: the effect moved, or the labels are not alike over time"
		return c
	}
	margin := max(0, s.e.Margin)
	c.Decision, c.NonInferior = stats.Decide(agreed, margin), agreed.Low > -margin
	if c.Decision == stats.Continue && s.e.MDE > 0 && agreed.Low > -s.e.MDE && agreed.High < s.e.MDE {
		c.Decision = stats.NoPracticalDifference
	}
	return c
}
