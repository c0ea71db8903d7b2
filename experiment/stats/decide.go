package stats

// Decision is what an interval of an effect says about a treatment. Effects are
// oriented: above 0 the treatment is better.
type Decision string

// The decisions.
const (
	// Continue: the interval allows harm beyond the margin, and no harm.
	Continue Decision = "continue"
	// Superior: the whole interval is above 0.
	Superior Decision = "superior"
	// Inferior: the whole interval is below 0, and harm beyond the margin isn't ruled out.
	Inferior Decision = "inferior"
	// NonInferior: harm beyond the margin is ruled out.
	NonInferior Decision = "non_inferior"
	// NoPracticalDifference: the effect is smaller than the smallest of interest, to
	// either side. [Decide] knows of no such effect and never says so.
	NoPracticalDifference Decision = "no_practical_difference"
	// Equivalent: harm and gain beyond the margin are both ruled out.
	Equivalent Decision = "equivalent"
)

// Decide returns the strongest statement that an interval of an effect supports,
// for a margin of at least 0 in the unit of the effect. With margin 0 nothing is
// non-inferior or equivalent without being superior. For the running interval of a
// confidence sequence it may be called after every observation.
func Decide(effect Interval, margin float64) Decision {
	switch nonInferior := effect.Low > -margin; {
	case effect.Low > 0:
		return Superior
	case nonInferior && effect.High < margin:
		return Equivalent
	case effect.High < 0:
		return Inferior
	case nonInferior:
		return NonInferior
	}
	return Continue
}
