package stats

import (
	"math"
	"slices"
)

// Opinion is what a panel said of one image.
type Opinion struct {
	Mean   float64
	SD     float64 // of single ratings; at least 0
	Raters int     // at least 2
}

// KrasulaAUC is how well scores tell pairs of images apart, of which people have
// said with what certainty they do.
type KrasulaAUC struct {
	// DifferentSimilar is the area under the ROC curve for telling pairs that differ
	// for people from those that do not by the size of the difference of scores.
	DifferentSimilar float64
	// BetterWorse is the area for telling, of the pairs that differ, which image is
	// the better one by the signed difference.
	BetterWorse float64
	// Correct (C0) is the share of the pairs that differ whose order the scores have;
	// equal scores do not.
	Correct            float64
	Different, Similar int // pairs
}

// mostOpinions bounds the pairs, of which all are held: about 32 million.
const mostOpinions = 8000

// Krasula analyses all pairs of images (Krasula, Fliegel, Le Callet, Klíma, "On the
// accuracy of objective image and video quality models: New methodology for
// performance evaluation", QoMEX 2016). A pair differs when a two-sided z-test at
// level alpha of its means, with the opinions' standard errors, says so. It needs
// at least one pair of each kind, and reports an error otherwise.
func Krasula(scores []float64, opinions []Opinion, alpha float64) (KrasulaAUC, error) {
	if err := checkValues("scores", scores, 3); err != nil {
		return KrasulaAUC{}, err
	}
	if err := checkShare("alpha", alpha); err != nil {
		return KrasulaAUC{}, err
	}
	if len(scores) > mostOpinions {
		return KrasulaAUC{}, fault("scores", "%d are too many, %d are the most", len(scores), mostOpinions)
	}
	variances := make([]float64, len(opinions))
	for i, o := range opinions {
		variances[i] = o.SD * o.SD / float64(o.Raters)
	}
	limit := normalQuantile(1 - alpha/2)
	var similar, better []float64
	correct := 0
	for i := range scores {
		for j := range i {
			gap, by := opinions[i].Mean-opinions[j].Mean, scores[i]-scores[j]
			if !(math.Abs(gap) > limit*math.Sqrt(variances[i]+variances[j])) {
				similar = append(similar, math.Abs(by))
				continue
			}
			if gap < 0 {
				by = -by
			}
			better = append(better, by)
			if by > 0 {
				correct++
			}
		}
	}
	if len(better) == 0 || len(similar) == 0 {
		return KrasulaAUC{},
			fault("opinions", "%d pairs differ and %d do not: at least one of each is needed", len(better), len(similar))
	}
	slices.Sort(similar)
	slices.Sort(better)
	k := KrasulaAUC{Correct: float64(correct) / float64(len(better)), Different: len(better), Similar: len(similar)}
	other := make([]float64, len(better))
	for i, v := range better {
		other[len(other)-1-i] = -v
	}
	k.BetterWorse = areaUnderROC(better, other)
	k.DifferentSimilar = areaUnderROC(absolute(better, other), similar)
	return k, nil
}

// absolute fills out with the absolute values of an ascending list, ascending.
func absolute(list, out []float64) []float64 {
	first, last := 0, len(list)-1
	for k := last; k >= 0; k-- {
		if -list[first] > list[last] {
			out[k] = -list[first]
			first++
		} else {
			out[k] = list[last]
			last--
		}
	}
	return out
}

// areaUnderROC is the chance that a positive is above a negative, half of the ties
// with it (Mann and Whitney 1947). Both lists ascend.
func areaUnderROC(positive, negative []float64) float64 {
	var area float64
	var below, upTo int
	for _, v := range positive {
		for below < len(negative) && negative[below] < v {
			below++
		}
		for upTo < len(negative) && negative[upTo] <= v {
			upTo++
		}
		area += (float64(below) + float64(upTo)) / 2
	}
	return area / float64(len(positive)) / float64(len(negative))
}
