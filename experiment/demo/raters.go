package demo

import (
	"errors"
	"math"
	"math/rand/v2"

	"github.com/agiqa/agiqa/experiment/stats"
	"github.com/agiqa/agiqa/experiment/stats/simulate"
)

// The scale that people rate on.
const (
	Lowest  = 1.0
	Highest = 5.0
)

// Truth says what people think of an image, on average.
type Truth struct {
	// OfTreatment is the share that the treatment's score has in the opinion; the
	// control's score has the rest. 1: the treatment is right. 0.5: each is as
	// wrong as the other, on every image and in the opposite direction.
	OfTreatment float64
	ImageSD     float64 // what no checkpoint knows of an image
	Seed        uint64
}

// Opinions are the true ones of images with these scores.
func (t Truth) Opinions(control, treatment []float64) (simulate.Population, error) {
	if len(control) != len(treatment) || len(control) == 0 {
		return nil, errors.New("demo: every image needs a score of both arms")
	}
	if !(t.OfTreatment >= 0 && t.OfTreatment <= 1) || !(t.ImageSD >= 0) {
		return nil, errors.New("demo: a share is 0 to 1, a deviation at least 0")
	}
	random := rand.New(rand.NewPCG(t.Seed, 2))
	// Of these the deviations between raters are kept.
	people := simulate.Synthetic(len(control), t.Seed)
	for i := range people {
		opinion := t.OfTreatment*treatment[i] + (1-t.OfTreatment)*control[i] + t.ImageSD*random.NormFloat64()
		people[i].MOS = min(max(opinion, Lowest), Highest)
	}
	return people, nil
}

// Raters are twenty people, of whom five see each image. The careless ones of them
// do not look and rate some other image: on average labels are then nearer to the
// middle than opinions, which favours an arm whose scores spread less. That some are milder than others is in
// the deviations of AGIQA-3K already; twenty who are milder on average than the
// truth would make the arm that scores higher the better one.
func Raters(careless int, seed uint64) simulate.PanelOptions {
	o := simulate.DefaultPanelOptions()
	o.Careless, o.Seed = careless, seed
	return o
}

// Rate lets people rate images of which they have opinions: for each image its
// ratings, on the scale.
func Rate(people simulate.Population, o simulate.PanelOptions) ([][]stats.Rating, error) {
	all, err := people.Panel(o)
	if err != nil {
		return nil, err
	}
	byImage := make([][]stats.Rating, len(people))
	for _, r := range all {
		r.Value = max(r.Value, Lowest)
		byImage[r.Image] = append(byImage[r.Image], r)
	}
	return byImage, nil
}

// Advantage is by how much the treatment's squared error would be smaller than the
// control's if the true opinions were known: what the experiment is to find.
func Advantage(people simulate.Population, control, treatment []float64) float64 {
	var m stats.Moments
	for i, p := range people {
		_ = m.Add(square(control[i]-p.MOS) - square(treatment[i]-p.MOS))
	}
	if m.N() == 0 {
		return math.NaN()
	}
	return m.Mean()
}

func square(x float64) float64 { return x * x }
