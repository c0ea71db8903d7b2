package analysis

import "fmt"

// Limits bounds the memory of a [State]. Where there is more than a limit, a
// sample at random of that size is kept and the rest is counted as left out; see
// the share in [Sampling].
type Limits struct {
	Exposures int `json:"exposures"` // remembered by id, to tell repetitions, and by assignment, to join thumbs: about 350 bytes each
	Units     int `json:"units"`     // about 150 bytes each
	Images    int `json:"images"`    // about 250 bytes each, and 40 for each arm
	Labels    int `json:"labels"`    // of each kind of feedback: about 400 bytes each
}

// DefaultLimits keep a million of each: at most about 1.2 GB, and 80 MB for
// 100,000 exposures of as many images.
func DefaultLimits() Limits {
	return Limits{Exposures: 1_000_000, Units: 1_000_000, Images: 1_000_000, Labels: 1_000_000}
}

// Validate names the first limit that cannot be used.
func (l Limits) Validate() error {
	for _, limit := range []struct {
		name string
		most int
	}{{"exposures", l.Exposures}, {"units", l.Units}, {"images", l.Images}, {"labels", l.Labels}} {
		if limit.most < 1 {
			return fmt.Errorf("limits: %s: %d is below 1", limit.name, limit.most)
		}
	}
	return nil
}

// Sampling is the share that is kept of each kind of thing: 1 unless there are
// more than [Limits] allows.
type Sampling struct {
	Exposures Number `json:"exposures"`
	Units     Number `json:"units"`
	Images    Number `json:"images"`
	Labels    Number `json:"labels"`
}
