package simulate

import (
	"errors"
	"math"

	"github.com/agiqa/agiqa/experiment/stats"
)

// PanelOptions describes people who rate.
type PanelOptions struct {
	Raters   int     // at least 1
	PerImage int     // ratings an image, by different people; 1 to Raters
	Leniency float64 // standard deviation of how much a rater is milder than the others
	Careless int     // the first raters answer for another image, drawn at random
	Step     float64 // labels are multiples of it; 0: any number on the scale
	Seed     uint64
}

// DefaultPanelOptions are 20 raters, of whom five see each image, on half points.
// With AGIQA-3K's deviations, which hold the leniency already, it is 0.
func DefaultPanelOptions() PanelOptions {
	return PanelOptions{Raters: 20, PerImage: 5, Step: 0.5, Seed: 1}
}

// Panel lets people rate every image of a population; image i of the ratings is
// p[i].
func (p Population) Panel(o PanelOptions) ([]stats.Rating, error) {
	switch {
	case o.Raters < 1 || o.PerImage < 1 || o.PerImage > o.Raters:
		return nil, errors.New("panel: raters must be at least 1, and 1 to all of them see an image")
	case o.Careless < 0 || o.Careless > o.Raters:
		return nil, errors.New("panel: careless raters must be some of the raters")
	case !(o.Leniency >= 0) || !(o.Step >= 0) || o.Step > Highest:
		return nil, errors.New("panel: leniency and step must be at least 0, the step within the scale")
	}
	random := stream(o.Seed, 1)
	lenient := make([]float64, o.Raters)
	for i := range lenient {
		lenient[i] = o.Leniency * random.NormFloat64()
	}
	ratings := make([]stats.Rating, 0, len(p)*o.PerImage)
	for i, image := range p {
		for _, rater := range random.Perm(o.Raters)[:o.PerImage] {
			value := clip(image.MOS + lenient[rater] + image.SD*random.NormFloat64())
			if rater < o.Careless {
				value = Label(p.draw(random), random)
			}
			if o.Step > 0 {
				value = clip(math.Round(value/o.Step) * o.Step)
			}
			ratings = append(ratings, stats.Rating{Image: i, Rater: rater, Value: value})
		}
	}
	return ratings, nil
}
