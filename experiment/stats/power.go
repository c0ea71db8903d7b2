package stats

import "math"

// MDE is the smallest mean difference that a two-sided z-test at level alpha
// finds with the given power, for n observations of standard deviation sd, in
// the unit of sd: (z(1-alpha/2) + z(power)) * sd / sqrt(n), which is 2.80 sd/sqrt(n)
// for 5 % and 80 %. For paired arms sd is that of the differences.
func MDE(sd float64, n int, alpha, power float64) (float64, error) {
	z, err := zPower(alpha, power)
	if err != nil {
		return 0, err
	}
	if !(sd >= 0) || !finite(sd) {
		return 0, fault("standard deviation", "%v is not a number of at least 0", sd)
	}
	if n < 1 {
		return 0, fault("observations", "%d are too few, 1 is needed", n)
	}
	return z * sd / math.Sqrt(float64(n)), nil
}

// LabelsToGo is how many observations are missing, at least 0, until effect is the
// [MDE].
func LabelsToGo(effect, sd float64, have int, alpha, power float64) (int, error) {
	z, err := zPower(alpha, power)
	if err != nil {
		return 0, err
	}
	if err := checkEffect(effect, sd); err != nil {
		return 0, err
	}
	root := z * sd / math.Abs(effect)
	if root*root > mostLabels {
		return 0, tooManyLabels()
	}
	return max(0, int(math.Ceil(root*root))-have), nil
}

// SequenceLabels is after how many observations a confidence sequence whose mean
// sits at effect leaves out 0: about the median of the stopping time when effect
// is the true one. At least the burn-in.
func SequenceLabels(effect, sd float64, options SequenceOptions) (int, error) {
	if err := options.Validate(); err != nil {
		return 0, err
	}
	if err := checkEffect(effect, sd); err != nil {
		return 0, err
	}
	rho, target := options.rho(), math.Abs(effect)
	high := float64(options.BurnIn)
	for options.halfWidth(high, sd, rho) >= target {
		if high *= 2; high > mostLabels {
			return 0, tooManyLabels()
		}
	}
	low := max(float64(options.BurnIn)-1, high/2)
	for high-low > 1 {
		if middle := math.Floor((low + high) / 2); options.halfWidth(middle, sd, rho) < target {
			high = middle
		} else {
			low = middle
		}
	}
	return int(high), nil
}

// mostLabels is far beyond any experiment and well within an int.
const mostLabels = 1e12

func tooManyLabels() error {
	return fault("effect", "it would take more than 1e12 observations")
}

func checkEffect(effect, sd float64) error {
	if !finite(effect) || effect == 0 {
		return fault("effect", "%v is not a number apart from 0", effect)
	}
	return checkPositive("standard deviation", sd)
}

func zPower(alpha, power float64) (float64, error) {
	if err := checkShare("alpha", alpha); err != nil {
		return 0, err
	}
	if err := checkShare("power", power); err != nil {
		return 0, err
	}
	return normalQuantile(1-alpha/2) + normalQuantile(power), nil
}
