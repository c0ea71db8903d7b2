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
	// Inferior: the whole interval is below 0, and harm beyond the margin is not ruled out.
	Inferior Decision = "inferior"
	// NonInferior: harm beyond the margin is ruled out.
	NonInferior Decision = "non_inferior"
	// Equivalent: harm and gain beyond the margin are both ruled out.
	Equivalent Decision = "equivalent"
)

// Verdict is everything that an interval says at once.
type Verdict struct {
	Decision    Decision // the strongest of the statements below
	Superior    bool     // low > 0
	Inferior    bool     // high < 0
	NonInferior bool     // low > -margin
	Equivalent  bool     // low > -margin and high < margin
}

// Decide reads an interval of an effect, for a margin of at least 0 in the unit of
// the effect. With margin 0 nothing is non-inferior or equivalent without being
// superior. On a confidence sequence it may be asked after every observation.
func Decide(effect Interval, margin float64) (Verdict, error) {
	if !(margin >= 0) || !finite(margin) {
		return Verdict{}, fault("margin", "%v is not a number of at least 0", margin)
	}
	if !(effect.Low <= effect.High) {
		return Verdict{}, fault("effect", "%v to %v is no interval", effect.Low, effect.High)
	}
	v := Verdict{
		Superior:    effect.Low > 0,
		Inferior:    effect.High < 0,
		NonInferior: effect.Low > -margin,
		Equivalent:  effect.Low > -margin && effect.High < margin,
	}
	switch {
	case v.Superior:
		v.Decision = Superior
	case v.Equivalent:
		v.Decision = Equivalent
	case v.Inferior:
		v.Decision = Inferior
	case v.NonInferior:
		v.Decision = NonInferior
	default:
		v.Decision = Continue
	}
	return v, nil
}
