package experiment

import "time"

// How far apart feedback and its exposure may be.
const (
	// OrphanFor is how long feedback waits for an exposure that nobody knows.
	OrphanFor = 24 * time.Hour
	// LateAfter is the age of an exposure from which on feedback is late.
	LateAfter = 30 * 24 * time.Hour
)

// IsOn reports whether f speaks of e: by the assignment that it names, or, if
// it names none, by one of its images.
func (f Feedback) IsOn(e Exposure) bool {
	if f.Assignment != "" {
		return f.Assignment == e.Assignment
	}
	return !e.Image.IsZero() && (f.Image == e.Image || f.ImageA == e.Image || f.ImageB == e.Image)
}

// Joined returns f as feedback on e: with its experiment and phase, accepted
// or late. A stored record never changes otherwise: whether a later label
// supersedes or contradicts an earlier one follows from the log in the order of
// time.
func (f Feedback) Joined(e Exposure) Feedback {
	f.Experiment, f.Phase, f.State = e.Experiment, e.Phase, Accepted
	if f.Image.IsZero() && f.Kind != Pair {
		f.Image = e.Image
	}
	f.Blind = false // a label that answers a task knows its experiment without an exposure
	if f.Time.Sub(e.Time) > LateAfter {
		f.State = Late
	}
	return f
}
