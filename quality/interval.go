package quality

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// ScoreRange is the scale of the opinions that a checkpoint was trained on. A
// regression isn't bound to it: 5.02 on 1 to 5 is possible.
type ScoreRange struct {
	Min, Max float64
	Unit     string // such as "MOS"
	Clamp    bool   // scores beyond the scale are cut to it
}

// Cut returns the point of the scale that is nearest to raw.
func (r ScoreRange) Cut(raw float64) float64 { return min(max(raw, r.Min), r.Max) }

// Score returns the score to show for what the head computed: raw, cut to the
// scale where the checkpoint declares that.
func (r ScoreRange) Score(raw float64) float64 {
	if r.Clamp {
		return r.Cut(raw)
	}
	return raw
}

// Interval is the range that contains a person's mean opinion of a picture with
// probability Coverage, if the picture is like those of the calibration.
type Interval struct {
	Low, High float64 // on the checkpoint's scale
	Coverage  float64 // nominal, such as 0.9
}

// maxBins bounds how many bins a Calibration may have.
const maxBins = 64

// Calibration turns scores into intervals by split-conformal prediction: the
// half width of an interval is a quantile of the errors on pictures that weren't
// trained on. Pictures are binned by raw score, since errors are larger in some
// parts of a scale than in others. It never changes after construction.
type Calibration struct {
	coverage   float64
	edges      []float64
	halfWidths []float64
}

// NewCalibration returns a calibration of len(edges)+1 bins. Bin i holds raw
// scores s with edges[i-1] <= s < edges[i]. Errors name the faulty value by its
// key in a manifest.
func NewCalibration(coverage float64, edges, halfWidths []float64) (*Calibration, error) {
	var faults []error
	if !(coverage > 0 && coverage < 1) {
		faults = append(faults, fmt.Errorf("coverage is %g, must be between 0 and 1", coverage))
	}
	switch {
	case len(halfWidths) < 1 || len(halfWidths) > maxBins:
		faults = append(faults, fmt.Errorf("%d half_widths, want 1 to %d", len(halfWidths), maxBins))
	case len(edges) != len(halfWidths)-1:
		faults = append(faults, fmt.Errorf("%d edges and %d half_widths, want one edge fewer than half_widths",
			len(edges), len(halfWidths)))
	}
	for i, e := range edges {
		switch {
		case !finite(e):
			faults = append(faults, fmt.Errorf("edges[%d] is %g, must be finite", i, e))
		case i > 0 && e <= edges[i-1]:
			faults = append(faults, fmt.Errorf("edges[%d] is %g, must be above edges[%d], %g", i, e, i-1, edges[i-1]))
		}
	}
	for i, w := range halfWidths {
		if !finite(w) || w < 0 {
			faults = append(faults, fmt.Errorf("half_widths[%d] is %g, must be finite and not negative", i, w))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	return &Calibration{coverage: coverage, edges: slices.Clone(edges), halfWidths: slices.Clone(halfWidths)}, nil
}

func finite(v float64) bool { return !math.IsNaN(v) && !math.IsInf(v, 0) }

// Coverage is the nominal coverage of the intervals, between 0 and 1.
func (c *Calibration) Coverage() float64 { return c.coverage }

// HalfWidth returns the half width of the bin that raw falls in.
func (c *Calibration) HalfWidth(raw float64) float64 {
	return c.halfWidths[sort.Search(len(c.edges), func(i int) bool { return c.edges[i] > raw })]
}

// Around returns the interval of a raw score: its centre is raw cut to the
// scale, and so are its ends. An opinion lies on the scale, so cutting takes
// nothing from the coverage, and the interval always contains the score of a
// checkpoint that clamps.
func (c *Calibration) Around(raw float64, scale ScoreRange) Interval {
	centre, half := scale.Cut(raw), c.HalfWidth(raw)
	return Interval{Low: scale.Cut(centre - half), High: scale.Cut(centre + half), Coverage: c.coverage}
}
