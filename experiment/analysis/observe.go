package analysis

import (
	"math"
	"slices"

	"github.com/agiqa/agiqa/evaluation"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/stats"
)

// observed are the observations of one treatment, in order.
type observed struct {
	unit string
	all  []stats.Observation
	// reachOf is how large an observation of an image could be, whatever its label;
	// nil where that is one number for all.
	reachOf func(row *image) float64
	reach   float64 // no observation can be larger, before any label is known; 0: not bounded in a way that helps
	// withoutRaters computes the mean again without some raters; nil where the parts
	// tell.
	withoutRaters func(out func(rater int) bool) float64
	raters        int
}

// observe lists what the sequence of a treatment takes.
func (s *State) observe(v view, arm int) observed {
	number := make(map[string]int, len(v.raters))
	for i, r := range v.raters {
		number[r] = i
	}
	switch s.e.Primary {
	case experiment.PrimarySRCC, experiment.PrimaryKRCC:
		return v.blocks(s.e.Primary, s.control, arm, number)
	case experiment.PrimaryPreference:
		return v.preferences(s.control, arm, number)
	}
	return s.losses(v, arm, number)
}

// losses are differences of squared errors, image by image.
func (s *State) losses(v view, arm int, number map[string]int) observed {
	low, high := s.scale(v)
	o := observed{unit: "image"}
	control, treatment := identity, identity
	var fit [2]affine
	calibrated := s.e.Primary == experiment.PrimaryCalibrated
	prompts := map[key]int{}
	for n, i := range v.images {
		a, b := i.scores[s.control], i.scores[arm]
		if calibrated {
			// An image is judged by a mapping that has not seen it.
			control, treatment = fit[0].mapping(low, high), fit[1].mapping(low, high)
			fit[0].add(a, i.label)
			fit[1].add(b, i.label)
			if n < calibrationImages {
				continue
			}
		}
		a, b = control(a), treatment(b)
		p, there := prompts[i.prompt]
		if !there {
			p = len(prompts)
			prompts[i.prompt] = p
		}
		x := stats.Observation{Value: stats.Gain(a, b, i.label), Prompt: p, Scored: i.scored}
		for _, r := range i.ratings {
			x.Parts = append(x.Parts, stats.Part{Rater: number[r.rater], Value: stats.Gain(a, b, r.value)})
		}
		o.all = append(o.all, x)
		o.reach = max(o.reach, stats.GainReach(a, b, low, high))
	}
	if calibrated {
		control, treatment = fit[0].mapping(low, high), fit[1].mapping(low, high)
	}
	o.reach = max(o.reach, stats.LeastReach(low, high))
	o.reachOf = func(row *image) float64 {
		a, b := row.scores[s.control], row.scores[arm]
		if !a.any || !b.any {
			return 0
		}
		return stats.GainReach(control(float64(a.score)), treatment(float64(b.score)), low, high)
	}
	return o
}

// widen takes images that nobody labelled yet into account: they tell how far the
// arms can be apart.
func (s *State) widen(all []observed) {
	if !slices.ContainsFunc(all, func(o observed) bool { return o.reachOf != nil }) {
		return
	}
	for _, row := range s.images.rows {
		for i := range all {
			all[i].reach = max(all[i].reach, all[i].reachOf(row))
		}
	}
}

// scale is the range of labels: the checkpoints', and whatever was given beyond it.
func (s *State) scale(v view) (low, high float64) {
	low, high = s.e.ScoreMin, s.e.ScoreMax
	if !(high > low) {
		low, high = math.Inf(1), math.Inf(-1)
	}
	for _, i := range v.images {
		for _, r := range i.ratings {
			low, high = min(low, r.value), max(high, r.value)
		}
	}
	return low, high
}

// calibrationImages are those that only fit the first mapping.
const calibrationImages = 30

// affine is the straight line through labels over scores, by least squares.
type affine struct{ n, x, y, xx, xy float64 }

func (f *affine) add(score, label float64) {
	f.n++
	dx, dy := score-f.x, label-f.y
	f.x += dx / f.n
	f.y += dy / f.n
	f.xx += dx * (score - f.x)
	f.xy += dx * (label - f.y)
}

// mapping puts scores on the scale of the labels. It keeps their order: an arm whose
// scores fall where labels rise predicts the mean.
func (f *affine) mapping(low, high float64) func(score float64) float64 {
	slope, x, y := 0.0, f.x, f.y
	if f.xx > 0 {
		slope = max(0, f.xy/f.xx)
	}
	return func(score float64) float64 { return min(max(y+slope*(score-x), low), high) }
}

func identity(score float64) float64 { return score }

// blocks are differences of rank correlations within disjoint blocks of images,
// by estimators without bias for the population's: Kendall's is one itself;
// Spearman's in a block of n has the expectation ((n-2) rho + 3 tau)/(n+1), which
// is solved for rho (Hoeffding 1948). One image moves a block by little, however far
// off it is.
func (v view) blocks(primary experiment.Primary, control, arm int, number map[string]int) observed {
	o := observed{unit: "block of 10 images", raters: len(number)}
	none := func(int) bool { return false }
	for first := 0; first+blockSize <= len(v.images); first += blockSize {
		value, _ := block(v.images[first:first+blockSize], primary, control, arm, number, none)
		o.all = append(o.all, stats.Observation{Value: value, Prompt: -1})
	}
	o.withoutRaters = func(out func(rater int) bool) float64 {
		var sum, n float64
		for first := 0; first+blockSize <= len(v.images); first += blockSize {
			if value, ok := block(v.images[first:first+blockSize], primary, control, arm, number, out); ok {
				sum, n = sum+value, n+1
			}
		}
		return sum / n
	}
	return o
}

// fewestInBlock is how many images of a block must keep a label for its correlation.
const fewestInBlock = 5

// block is the difference of the arms' correlations with the labels of the raters
// that are not out.
func block(images []rated, primary experiment.Primary, control, arm int, number map[string]int,
	out func(rater int) bool) (value float64, ok bool) {
	var labels, first, second []float64
	for _, i := range images {
		var sum, n float64
		for _, r := range i.ratings {
			if !out(number[r.rater]) {
				sum, n = sum+r.value, n+1
			}
		}
		if n > 0 {
			labels = append(labels, sum/n)
			first, second = append(first, i.scores[control]), append(second, i.scores[arm])
		}
	}
	if len(labels) < fewestInBlock {
		return 0, false
	}
	of := func(scores []float64) float64 {
		tau := orZero(evaluation.KRCC(scores, labels))
		if primary == experiment.PrimaryKRCC {
			return tau
		}
		n := float64(len(labels))
		return ((n+1)*orZero(evaluation.SRCC(scores, labels)) - 3*tau) / (n - 2)
	}
	return of(second) - of(first), true
}

// orZero takes a list without any order for one without correlation.
func orZero(r float64) float64 {
	if math.IsNaN(r) {
		return 0
	}
	return r
}

// preferences are differences of the share of raters that an arm predicts, pair by pair.
func (v view) preferences(control, arm int, number map[string]int) observed {
	o := observed{unit: "pair of images", reach: 1}
	for _, p := range v.pairs {
		x := stats.Observation{Prompt: -1}
		for i, w := range p.winners {
			d := p.correct(arm, w) - p.correct(control, w)
			x.Value += d / float64(len(p.winners))
			x.Parts = append(x.Parts, stats.Part{Rater: number[p.raters[i]], Value: d})
		}
		o.all = append(o.all, x)
	}
	return o
}

// correct is 1 where an arm's scores predict a preference; a tie on either side is
// half.
func (p preferred) correct(arm int, w winner) float64 {
	switch {
	case w == tie || p.a[arm] == p.b[arm]:
		return 0.5
	case (w == lowWins) == (p.a[arm] > p.b[arm]):
		return 1
	}
	return 0
}
