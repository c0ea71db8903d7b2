package stats

import "math"

// Gain is by how much a treatment's squared error is smaller than the control's.
func Gain(control, treatment, label float64) float64 {
	c, t := control-label, treatment-label
	return c*c - t*t
}

// GainReach is the size of the largest gain that a label between low and high could
// make of two scores.
func GainReach(control, treatment, low, high float64) float64 {
	return max(math.Abs(Gain(control, treatment, low)), math.Abs(Gain(control, treatment, high)))
}

// LeastReach is the size of gains that is taken as possible whatever was seen: what
// nobody sent yet need not stay within that. It is an eighth of what labels between
// low and high allow.
func LeastReach(low, high float64) float64 { return (high - low) * (high - low) / 8 }
