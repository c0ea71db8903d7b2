package simulate

import "math/rand/v2"

// Arms says how scores err, in units of the opinions.
type Arms struct {
	Shared float64 // standard deviation of the error that both arms make
	First  float64 // of the first arm's own error
	Second float64 // of the second's
}

// Different are two arms of SRCC 0.79 and 0.81 on AGIQA-3K with a correlation of
// 0.96 between them: a control and a slightly better treatment.
func Different() Arms { return Arms{Shared: 0.66, First: 0.30, Second: 0.165} }

// Same are two arms of which none is better: an A/A test.
func Same() Arms { return Arms{Shared: 0.66, First: 0.30, Second: 0.30} }

// Scores of one image by both arms.
func (a Arms) Scores(image Image, random *rand.Rand) (first, second float64) {
	shared := a.Shared * random.NormFloat64()
	first = image.MOS + shared + a.First*random.NormFloat64()
	return first, image.MOS + shared + a.Second*random.NormFloat64()
}

// Label is one opinion of a rater who answers without seeing a score, cut to the
// scale.
func Label(image Image, random *rand.Rand) float64 {
	return clip(image.MOS + image.SD*random.NormFloat64())
}

// Anchored is the label of a rater who has seen a score: moved towards it by a
// share, 0 not at all, 1 the score itself.
func Anchored(label, shown, share float64) float64 { return clip(label + share*(shown-label)) }

func clip(v float64) float64 { return min(max(v, Lowest), Highest) }
