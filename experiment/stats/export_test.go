package stats

// LogE is the logarithm of the e-value against 1/2 now.
func (p *Preferences) LogE() float64 { return p.evidence.now }

// HalfWidth is the distance of an end of the interval from the mean.
func (o SequenceOptions) HalfWidth(n int, sd float64) float64 {
	return o.halfWidth(float64(n), sd, o.rho())
}
