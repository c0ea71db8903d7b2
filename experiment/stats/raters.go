package stats

import (
	"cmp"
	"math"
	"slices"
)

// RaterReport is how one rater stands to the others.
type RaterReport struct {
	Rater    int
	Checked  int // ratings of images with enough ratings to judge by
	Above    int // of these, far above the image's others
	Below    int // and far below
	Rejected bool
}

const (
	fewestOfImage = 6   // with fewer, nobody can be two standard deviations away
	rejectedShare = .05 // a rater with a larger share of far ratings is looked at,
	rejectedLean  = .3  // and rejected when they lean to neither side more than this
)

// ScreenRaters finds raters who answer at random: the screening of observers of
// Recommendation ITU-R BT.500. A rating is far when it lies at least two standard
// deviations from its image's mean, sqrt(20) where the image's ratings are not
// normal (kurtosis outside 2 to 4). A rater is rejected when more than 5 % of the
// ratings are far and |above-below|/(above+below) is below 0.3: those who are
// merely strict or mild are kept. Images with fewer
// than 6 ratings, or equal ones, are passed over. Reports are ordered by rater.
//
// Rejection changes what is measured: use it as a second analysis, decided before.
func ScreenRaters(ratings []Rating) []RaterReport {
	images := make(map[int][]Rating)
	reports := make(map[int]*RaterReport)
	for _, r := range ratings {
		images[r.Image] = append(images[r.Image], r)
		if reports[r.Rater] == nil {
			reports[r.Rater] = &RaterReport{Rater: r.Rater}
		}
	}
	for _, of := range images {
		mean, far, ok := farness(of)
		if !ok {
			continue
		}
		for _, r := range of {
			report := reports[r.Rater]
			report.Checked++
			switch {
			case r.Value >= mean+far:
				report.Above++
			case r.Value <= mean-far:
				report.Below++
			}
		}
	}
	out := make([]RaterReport, 0, len(reports))
	for _, r := range reports {
		odd := float64(r.Above + r.Below)
		r.Rejected = odd > rejectedShare*float64(r.Checked) && math.Abs(float64(r.Above-r.Below)) < rejectedLean*odd
		out = append(out, *r)
	}
	slices.SortFunc(out, func(a, b RaterReport) int { return cmp.Compare(a.Rater, b.Rater) })
	return out
}

// farness is the mean of an image's ratings and the distance that is far.
func farness(of []Rating) (mean, far float64, ok bool) {
	if len(of) < fewestOfImage {
		return 0, 0, false
	}
	n := float64(len(of))
	for _, r := range of {
		mean += r.Value / n
	}
	var second, fourth float64
	for _, r := range of {
		d := r.Value - mean
		second += d * d / n
		fourth += d * d * d * d / n
	}
	if !(second > 0) {
		return 0, 0, false
	}
	far = 2
	if kurtosis := fourth / second / second; kurtosis < 2 || kurtosis > 4 {
		far = math.Sqrt(20)
	}
	return mean, far * math.Sqrt(second*n/(n-1)), true
}
