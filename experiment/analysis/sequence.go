package analysis

import (
	"math"

	"github.com/agiqa/agiqa/evaluation"
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
	SD           Number           `json:"sd"`           // of the observations
	Confidence   Number           `json:"confidence"`   // of the intervals, after dividing alpha among the treatments
	Current      Interval         `json:"current"`      // of this moment
	Running      Interval         `json:"running"`      // intersection of all so far: decides
	Decision     stats.Decision   `json:"decision"`
	NonInferior  bool             `json:"non_inferior"` // harm beyond the margin is ruled out
	Contradicted bool             `json:"contradicted"` // intervals without a common point were seen: the effect moved
	LabelsToGo   Number           `json:"labels_to_go"` // observations until the sequence would leave out 0 if the effect were the smallest of interest
	Note         string           `json:"note,omitempty"`

	track []TrackPoint // for the report
}

// observations are what the sequence of a treatment takes, in order.
func (v view) observations(e experiment.Experiment, control, arm int) (values []float64, unit string) {
	switch e.Primary {
	case experiment.PrimarySRCC, experiment.PrimaryKRCC:
		return v.blocks(e.Primary, control, arm), "block of 10 images"
	case experiment.PrimaryPreference:
		for _, p := range v.pairs {
			values = append(values, p.correct(arm)-p.correct(control))
		}
		return values, "pair of images"
	}
	for _, i := range v.images {
		values = append(values, i.gain(control, arm))
	}
	return values, "image"
}

// gain is by how much an arm's squared error is smaller than the control's.
func (i rated) gain(control, arm int) float64 {
	return square(i.scores[control]-i.label) - square(i.scores[arm]-i.label)
}

func square(x float64) float64 { return x * x }

// blocks are differences of rank correlations within disjoint blocks of images,
// by estimators without bias for the population's: Kendall's is one itself;
// Spearman's in a block of n has the expectation ((n-2) rho + 3 tau)/(n+1), which
// is solved for rho (Hoeffding 1948).
func (v view) blocks(primary experiment.Primary, control, arm int) []float64 {
	var values []float64
	labels := make([]float64, blockSize)
	scores := make([]float64, blockSize)
	for first := 0; first+blockSize <= len(v.images); first += blockSize {
		block := v.images[first : first+blockSize]
		of := func(arm int) float64 {
			for i, image := range block {
				labels[i], scores[i] = image.label, image.scores[arm]
			}
			tau := orZero(evaluation.KRCC(scores, labels))
			if primary == experiment.PrimaryKRCC {
				return tau
			}
			const n = blockSize
			return ((n+1)*orZero(evaluation.SRCC(scores, labels)) - 3*tau) / (n - 2)
		}
		values = append(values, of(arm)-of(control))
	}
	return values
}

// orZero takes a list without any order for one without correlation.
func orZero(r float64) float64 {
	if math.IsNaN(r) {
		return 0
	}
	return r
}

// correct is the share of raters whose preference an arm's scores predict; a tie
// on either side is half.
func (p preferred) correct(arm int) float64 {
	var sum float64
	for _, w := range p.winners {
		switch {
		case w == tie || p.a[arm] == p.b[arm]:
			sum += 0.5
		case (w == lowWins) == (p.a[arm] > p.b[arm]):
			sum++
		}
	}
	return sum / float64(len(p.winners))
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
	o.Alpha /= float64(max(1, len(s.treatments())))
	if s.e.Horizon > 0 {
		o.Horizon = float64(s.e.Horizon)
	}
	o.BurnIn = burnIn
	if s.e.Primary == experiment.PrimarySRCC || s.e.Primary == experiment.PrimaryKRCC {
		o.Horizon, o.BurnIn = max(1, o.Horizon/blockSize), burnInBlock
	}
	return o
}

// compare runs the sequence of every treatment over the labels of a view.
func (s *State) compare(v view, points int) []Comparison {
	var all []Comparison
	options := s.sequenceOptions()
	for _, arm := range s.treatments() {
		values, unit := v.observations(s.e, s.control, arm)
		sequence := stats.NewSequence(options)
		c := Comparison{Arm: s.e.Arms[arm].ID, Basis: v.basis, Unit: unit}
		all = append(all, s.follow(c, options, sequence, len(values), points, func(i int) error {
			return sequence.Add(values[i])
		}))
	}
	return all
}

// follow adds n observations to a sequence, keeps about points of its states for the
// report, and concludes.
func (s *State) follow(c Comparison, options stats.SequenceOptions, sequence interface{ Bounds() stats.Bounds },
	n, points int, add func(i int) error) Comparison {
	c.Confidence, c.Decision = Number(1-options.Alpha), stats.Continue
	c.Effect, c.SD, c.LabelsToGo = unknown(), unknown(), unknown()
	keep := kept(n, points)
	for i := range n {
		_ = add(i) // scores and labels are bounded when they are read
		if keep(i + 1) {
			c.track = append(c.track, pointOf(sequence.Bounds()))
		}
	}
	return s.conclude(c, sequence.Bounds(), options)
}

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

// conclude reads the bounds of a sequence.
func (s *State) conclude(c Comparison, b stats.Bounds, options stats.SequenceOptions) Comparison {
	c.Observations, c.Contradicted = b.N, b.Contradicted
	if b.N > 0 {
		c.Effect, c.SD = Number(b.Mean), Number(b.SD)
	}
	c.Current, c.Running = intervalOf(b.Current), intervalOf(b.Running)
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
	margin := max(0, s.e.Margin)
	c.Decision, c.NonInferior = stats.Decide(b.Running, margin), b.Running.Low > -margin
	if b.Contradicted {
		c.Note = "intervals without a common point were seen: the effect moved, or the labels are not alike over time"
	}
	return c
}
