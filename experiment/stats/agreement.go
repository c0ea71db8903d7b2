package stats

import (
	"cmp"
	"context"
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
// and labels are sorted once, and a resample is a count for every image. With ByRater
// labels differ between resamples and are sorted anew, by their bits.
func (b Bootstrap) Agreement(ctx context.Context, panel Panel, metrics []Metric) (Agreement, error) {
	s, err := newSample(panel)
	if err != nil {
		return Agreement{}, err
	}
	units := []int{s.images}
	if b.ByRater {
		if s.raters < 2 {
			return Agreement{}, fault("raters", "%d are too few to draw from, 2 are needed", s.raters)
		}
		units = append(units, s.raters)
	}
	arms, perArm := len(panel.Scores), len(metrics)
	estimates, err := b.Figures(ctx, units, (2*arms-1)*perArm, func() Counted { return s.counted(metrics) })
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
	ratings        []Rating // by image, then as given; raters counted from 0 without gaps
	rated          []int32  // by image: where its ratings begin; one more at the end
}

func newSample(p Panel) (*sample, error) {
	s := &sample{images: len(p.Scores[0]), ratings: slices.Clone(p.Ratings)}
	for arm, scores := range p.Scores {
		if err := checkValues("scores", scores, 4); err != nil {
			return nil, err
		}
		v := newVariable(scores)
		if v.runs == 1 {
			return nil, fault("scores", "those of arm %d are all the same", arm)
		}
		s.arms = append(s.arms, v)
	}
	numbers := make(map[int]int32)
	for i, r := range p.Ratings {
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
	slices.SortStableFunc(s.ratings, func(a, b Rating) int { return cmp.Compare(a.Image, b.Image) })
	s.rated = make([]int32, s.images+1)
	for _, r := range s.ratings {
		s.rated[r.Image+1]++
	}
	for i := range s.images {
		if s.rated[i+1] == 0 {
			return nil, fault("ratings", "image %d has none", i)
		}
		s.rated[i+1] += s.rated[i]
	}
	labels, everyone := make([]float64, s.images), slices.Repeat([]int32{1}, s.raters)
	for i := range labels {
		labels[i], _ = s.labelOf(i, everyone)
	}
	s.labels = newVariable(labels)
	if s.labels.runs == 1 {
		return nil, fault("ratings", "they are the same for every image")
	}
	return s, nil
}

// labelOf is the mean of an image's ratings, each counted as often as its rater, and
// whether there is any.
func (s *sample) labelOf(image int, raters []int32) (mean float64, rated bool) {
	var n int32
	for _, r := range s.ratings[s.rated[image]:s.rated[image+1]] {
		mean += float64(raters[r.Rater]) * r.Value
		n += raters[r.Rater]
	}
	return mean / float64(n), n > 0
}
