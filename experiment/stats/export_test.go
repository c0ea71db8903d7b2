package stats

// LogE is the logarithm of the e-value against 1/2 now.
func (p *Preferences) LogE() float64 { return p.evidence.now }
