package stats

import (
	"math"
	"slices"
)

// Metric is a figure of agreement with labels.
type Metric string

// The metrics: those of package evaluation, on an image's mean label.
const (
	SRCC Metric = "srcc" // Spearman's rank correlation
	KRCC Metric = "krcc" // Kendall's tau-b
	PLCC Metric = "plcc" // Pearson's correlation, without mapping
	RMSE Metric = "rmse" // in the unit of the labels
	MSE  Metric = "mse"  // its square
)

// Metrics lists all of them.
func Metrics() []Metric { return []Metric{SRCC, KRCC, PLCC, RMSE, MSE} }

// LowerIsBetter tells errors from correlations.
func (m Metric) LowerIsBetter() bool { return m == RMSE || m == MSE }

// Rating is one label: what one rater said of one image.
type Rating struct {
	Image int // index into an arm's scores
	Rater int // 0 and up; the same number is the same person
	Value float64
}

// Panel is what is compared: the scores that every arm gave to the same images,
// and people's ratings of them. Scores are used as they are: map them to the
// labels' scale first (evaluation.FitLogistic, on other images) where RMSE or MSE
// should mean something.
type Panel struct {
	Scores  [][]float64 // one list an arm; the first arm is the control
	Ratings []Rating    // every image has at least one
}

// PanelOf takes one label an image, a mean opinion for example.
func PanelOf(scores [][]float64, labels []float64) Panel {
	p := Panel{Scores: scores, Ratings: make([]Rating, len(labels))}
	for i, v := range labels {
		p.Ratings[i] = Rating{Image: i, Value: v}
	}
	return p
}

// Agreement is how well the arms of a panel agree with people.
type Agreement struct {
	Images, Ratings, Raters int
	Arms                    []ArmAgreement
}

// ArmAgreement belongs to one arm.
type ArmAgreement struct {
	Figures []Figure
	// AgainstControl is this arm less the first one, on the same resamples; empty
	// for the first.
	AgainstControl []Figure
}

// Figure is a metric with its estimate.
type Figure struct {
	Metric Metric
	Estimate
}

// Effect is the interval of a difference turned so that above 0 is better, as
// [Decide] reads it.
func (f Figure) Effect() Interval {
	if f.Metric.LowerIsBetter() {
		return Interval{-f.High, -f.Low}
	}
	return f.Interval
}

// Agreement computes the metrics of every arm and their differences to the first
// arm, with BCa intervals. Images are the units that are drawn, with all their
// ratings; with ByRater raters are drawn too, an image's label is then the mean of
// its ratings as drawn, and an image without any is left out of the resample.
//
// A correlation of n images in one resample takes O(n) steps, KRCC O(n log n): arms
// and labels are sorted once, and a resample is a count for every image.
func (b Bootstrap) Agreement(panel Panel, metrics []Metric) (Agreement, error) {
	s, err := newSample(panel)
	if err != nil {
		return Agreement{}, err
	}
	for _, m := range metrics {
		if !slices.Contains(Metrics(), m) {
			return Agreement{}, fault("metrics", "%q is not known", m)
		}
	}
	if len(metrics) == 0 {
		return Agreement{}, fault("metrics", "there is none")
	}
	units := []int{s.images}
	if b.ByRater {
		if s.raters < 2 {
			return Agreement{}, tooFew("raters", "%d are too few to draw from, 2 are needed", s.raters)
		}
		units = append(units, s.raters)
	}
	arms, perArm := len(panel.Scores), len(metrics)
	estimates, err := b.Figures(units, (2*arms-1)*perArm, func() Counted { return s.counted(metrics) })
	if err != nil {
		return Agreement{}, err
	}
	a := Agreement{Images: s.images, Ratings: len(panel.Ratings), Raters: s.raters, Arms: make([]ArmAgreement, arms)}
	for arm := range a.Arms {
		for i, m := range metrics {
			a.Arms[arm].Figures = append(a.Arms[arm].Figures, Figure{m, estimates[arm*perArm+i]})
			if arm > 0 {
				difference := estimates[(arms+arm-1)*perArm+i]
				a.Arms[arm].AgainstControl = append(a.Arms[arm].AgainstControl, Figure{m, difference})
			}
		}
	}
	return a, nil
}

// sample is a checked panel: sorted arms, and the labels of all images.
type sample struct {
	images, raters int
	arms           []variable
	labels         variable
	ratings        []Rating // raters counted from 0 without gaps
}

func newSample(p Panel) (*sample, error) {
	if len(p.Scores) == 0 {
		return nil, fault("scores", "there is no arm")
	}
	s := &sample{images: len(p.Scores[0]), ratings: slices.Clone(p.Ratings)}
	for arm, scores := range p.Scores {
		if len(scores) != s.images {
			return nil, fault("scores", "arm %d has %d and the first %d", arm, len(scores), s.images)
		}
		if err := checkValues("scores", scores, 4); err != nil {
			return nil, err
		}
		v := newVariable(scores)
		if len(v.ends) == 1 {
			return nil, fault("scores", "those of arm %d are all the same", arm)
		}
		s.arms = append(s.arms, v)
	}
	numbers := make(map[int]int32)
	for i, r := range p.Ratings {
		if r.Image < 0 || r.Image >= s.images {
			return nil, fault("ratings", "value %d is of image %d, and there are %d", i, r.Image, s.images)
		}
		if r.Rater < 0 {
			return nil, fault("ratings", "value %d is of rater %d", i, r.Rater)
		}
		if !finite(r.Value) {
			return nil, fault("ratings", "value %d is %v, not a number within ±1e60", i, r.Value)
		}
		number, known := numbers[r.Rater]
		if !known {
			number = int32(len(numbers))
			numbers[r.Rater] = number
		}
		s.ratings[i].Rater = int(number)
	}
	s.raters = len(numbers)
	labels, rated := make([]float64, s.images), make([]int32, s.images)
	everyone := slices.Repeat([]int32{1}, s.raters)
	s.average(everyone, labels, rated)
	for i, n := range rated {
		if n == 0 {
			return nil, fault("ratings", "image %d has none", i)
		}
	}
	s.labels = newVariable(labels)
	if len(s.labels.ends) == 1 {
		return nil, fault("ratings", "they are the same for every image")
	}
	return s, nil
}

// average fills labels with the means of the ratings, each counted as often as
// its rater, and rated with how many those are.
func (s *sample) average(raters []int32, labels []float64, rated []int32) {
	clear(labels)
	clear(rated)
	for _, r := range s.ratings {
		n := raters[r.Rater]
		labels[r.Image] += float64(n) * r.Value
		rated[r.Image] += n
	}
	for i, n := range rated {
		if n > 0 {
			labels[i] /= float64(n)
		}
	}
}

// counted computes all metrics of all arms, then those of the later arms less
// those of the first.
func (s *sample) counted(metrics []Metric) Counted {
	labels, work := s.labels, newScratch(s.images)
	drawn := make([]int32, s.images)
	rated := make([]int32, s.images)
	want := func(m Metric) bool { return slices.Contains(metrics, m) }
	return func(counts [][]int32, figures []float64) {
		images := counts[0]
		if len(counts) == 2 {
			if !work.own {
				labels, work.own = labels.clone(), true
			}
			s.average(counts[1], labels.values, rated)
			copy(drawn, images)
			for i, n := range rated {
				if n == 0 {
					drawn[i] = 0
				}
			}
			images = drawn
			labels.sort()
		}
		work.begin(&labels, images, want(SRCC), want(KRCC))
		for a := range s.arms {
			for i, m := range metrics {
				figures[a*len(metrics)+i] = work.metric(m, &s.arms[a], &labels, images)
			}
		}
		for i := len(metrics); i < len(s.arms)*len(metrics); i++ {
			figures[(len(s.arms)-1)*len(metrics)+i] = figures[i] - figures[i%len(metrics)]
		}
	}
}

// scratch is the memory of one worker.
type scratch struct {
	own                  bool // the labels are this worker's to change
	total                int64
	labelRanks, armRanks []int64
	labelTies            int64
	tree                 []int64
}

func newScratch(images int) *scratch {
	return &scratch{
		labelRanks: make([]int64, images), armRanks: make([]int64, images), tree: make([]int64, images+1),
	}
}

// begin computes what all arms share.
func (w *scratch) begin(labels *variable, counts []int32, ranks, ties bool) {
	w.total = 0
	for _, n := range counts {
		w.total += int64(n)
	}
	if ranks {
		labels.ranks(counts, w.total, w.labelRanks)
	}
	if ties {
		w.labelTies = labels.tiedPairs(counts)
	}
}

func (w *scratch) metric(m Metric, arm, labels *variable, counts []int32) float64 {
	switch m {
	case SRCC:
		return w.srcc(arm, counts)
	case KRCC:
		return w.krcc(arm, labels, counts)
	case PLCC:
		return w.plcc(arm, labels, counts)
	case RMSE:
		return math.Sqrt(w.mse(arm, labels, counts))
	}
	return w.mse(arm, labels, counts)
}

// srcc is in whole numbers, twice the ranks, up to its last line.
func (w *scratch) srcc(arm *variable, counts []int32) float64 {
	arm.ranks(counts, w.total, w.armRanks)
	var xy, xx, yy int64
	for i, n := range counts {
		x, y, n := w.armRanks[i], w.labelRanks[i], int64(n)
		xy += n * x * y
		xx += n * x * x
		yy += n * y * y
	}
	if xx == 0 || yy == 0 {
		return math.NaN()
	}
	return float64(xy) / math.Sqrt(float64(xx)) / math.Sqrt(float64(yy))
}

func (w *scratch) plcc(arm, labels *variable, counts []int32) float64 {
	var xMean, yMean float64
	for i, n := range counts {
		xMean += float64(n) * arm.values[i]
		yMean += float64(n) * labels.values[i]
	}
	xMean /= float64(w.total)
	yMean /= float64(w.total)
	var xy, xx, yy float64
	for i, n := range counts {
		dx, dy, n := arm.values[i]-xMean, labels.values[i]-yMean, float64(n)
		xy += n * dx * dy
		xx += n * dx * dx
		yy += n * dy * dy
	}
	// Rounding leaves a little where all values are the same.
	if xx <= 1e-24*float64(w.total)*xMean*xMean || yy <= 1e-24*float64(w.total)*yMean*yMean || xx == 0 || yy == 0 {
		return math.NaN()
	}
	return xy / math.Sqrt(xx) / math.Sqrt(yy)
}

func (w *scratch) mse(arm, labels *variable, counts []int32) float64 {
	var sum float64
	for i, n := range counts {
		d := arm.values[i] - labels.values[i]
		sum += float64(n) * d * d
	}
	return sum / float64(w.total) // NaN when nothing was drawn
}

// krcc walks the arm's values upwards and keeps in a Fenwick tree how many images
// were passed at every label: those of a lower label are concordant, those of a
// higher one discordant. The copies of an image are tied with each other.
func (w *scratch) krcc(arm, labels *variable, counts []int32) float64 {
	tree := w.tree[:len(labels.ends)+1]
	clear(tree)
	var difference, armTies, passed int64
	first := int32(0)
	for _, end := range arm.ends {
		var run int64
		for _, i := range arm.order[first:end] {
			n := int64(counts[i])
			if n == 0 {
				continue
			}
			run += n
			place := labels.run[i]
			upTo := prefix(tree, place+1)
			difference += n * (prefix(tree, place) - (passed - upTo))
		}
		for _, i := range arm.order[first:end] {
			if n := int64(counts[i]); n > 0 {
				add(tree, labels.run[i], n)
			}
		}
		passed += run
		armTies += run * (run - 1) / 2
		first = end
	}
	pairs := w.total * (w.total - 1) / 2
	if armTies == pairs || w.labelTies == pairs {
		return math.NaN()
	}
	return float64(difference) / math.Sqrt(float64(pairs-armTies)) / math.Sqrt(float64(pairs-w.labelTies))
}

// prefix is the sum of places 0 to n-1.
func prefix(tree []int64, n int32) int64 {
	var sum int64
	for ; n > 0; n &= n - 1 {
		sum += tree[n]
	}
	return sum
}

func add(tree []int64, place int32, n int64) {
	for k := int(place) + 1; k < len(tree); k += k & -k {
		tree[k] += n
	}
}
