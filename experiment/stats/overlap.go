package stats

import "math"

// Overlap holds the three correlations of two arms with the same labels. The
// tests below take them from the same images, which a test for independent
// samples (ITU-T P.1401) must not be given.
//
// The tests are for Pearson's correlation of normal values. On ranks they are
// approximate; [Bootstrap.Agreement] is the reference for SRCC and KRCC.
type Overlap struct {
	First   float64 // of the first arm with the labels
	Second  float64 // of the second arm with the labels
	Between float64 // of the two arms
	N       int     // images
}

// OverlapOf takes the correlations of two arms' scores and the labels of the same
// images: of is [evaluation.PLCC], or [evaluation.SRCC] for ranks.
func OverlapOf(first, second, labels []float64, of func(x, y []float64) float64) (Overlap, error) {
	for name, values := range map[string][]float64{"first": first, "second": second, "labels": labels} {
		if err := checkValues(name, values, fewestOverlap); err != nil {
			return Overlap{}, err
		}
	}
	o := Overlap{First: of(first, labels), Second: of(second, labels), Between: of(first, second), N: len(labels)}
	if math.IsNaN(o.First) || math.IsNaN(o.Second) {
		return Overlap{}, fault("scores", "the scores of an arm, or the labels, are all the same")
	}
	return o, nil
}

const fewestOverlap = 4 // leaves one degree of freedom

// check wants a positive definite matrix of correlations and returns its
// determinant.
func (o Overlap) check() (float64, error) {
	if o.N < fewestOverlap {
		return 0, fault("images", "%d are too few, %d are needed", o.N, fewestOverlap)
	}
	for _, r := range []float64{o.First, o.Second, o.Between} {
		if !(math.Abs(r) < 1) {
			return 0, fault("correlations", "%v is not between -1 and 1", r)
		}
	}
	k := 1 - o.First*o.First - o.Second*o.Second - o.Between*o.Between + 2*o.First*o.Second*o.Between
	if !(k > 0) {
		return 0, fault("correlations", "no three variables have %v, %v and %v", o.First, o.Second, o.Between)
	}
	return k, nil
}

// Williams is Williams' t (1959) for First = Second, with N-3 degrees of freedom;
// positive when First is larger. Form of Steiger (1980), eq. 7, who recommends it.
func Williams(o Overlap) (Test, error) {
	k, err := o.check()
	if err != nil {
		return Test{}, err
	}
	n := float64(o.N)
	sum, apart := o.First+o.Second, 1-o.Between
	below := 2*k*(n-1)/(n-3) + sum*sum/4*apart*apart*apart
	return tTest((o.First-o.Second)*math.Sqrt((n-1)*(1+o.Between)/below), n-3), nil
}

// Steiger is Steiger's z (1980, eq. 14): Fisher's transform of both correlations,
// with their covariance at the mean correlation (Dunn and Clark 1969, modified).
func Steiger(o Overlap) (Test, error) {
	if _, err := o.check(); err != nil {
		return Test{}, err
	}
	mean := (o.First + o.Second) / 2
	square := mean * mean
	covariance := o.Between*(1-2*square) - square/2*(1-2*square-o.Between*o.Between)
	c := covariance / ((1 - square) * (1 - square))
	spread := 2 - 2*c
	if !(spread > 0) {
		return Test{}, fault("correlations", "the two arms are indistinguishable")
	}
	return zTest((math.Atanh(o.First) - math.Atanh(o.Second)) * math.Sqrt(float64(o.N-3)/spread)), nil
}

// Meng is the z of Meng, Rosenthal and Rubin (1992, eq. 1).
func Meng(o Overlap) (Test, error) {
	if _, err := o.check(); err != nil {
		return Test{}, err
	}
	return zTest((math.Atanh(o.First) - math.Atanh(o.Second)) / o.mengError()), nil
}

// mengError is the standard error of the difference of Fisher's transforms.
func (o Overlap) mengError() float64 {
	square := (o.First*o.First + o.Second*o.Second) / 2
	f := math.Min(1, (1-o.Between)/(2*(1-square)))
	h := (1 - f*square) / (1 - square)
	return math.Sqrt(2 * (1 - o.Between) * h / float64(o.N-3))
}
