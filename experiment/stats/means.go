package stats

import "math"

// Effect is a difference of two arms, treatment less control.
type Effect struct {
	Difference float64
	SE         float64
	Interval        // at the asked confidence
	Test       Test // for no difference
}

// effectOf makes the interval of a difference: Student's where df is above 0,
// normal otherwise.
func effectOf(difference, se, df, confidence float64) (Effect, error) {
	if !(se > 0) || !finite(se) || !finite(difference) {
		return Effect{}, fault("values", "they do not differ within the arms")
	}
	e := Effect{Difference: difference, SE: se}
	reach := normalQuantile((1+confidence)/2) * se
	if df > 0 {
		e.Test = tTest(difference/se, df)
		reach = tQuantile((1+confidence)/2, df) * se
	} else {
		e.Test = zTest(difference / se)
	}
	e.Interval = Interval{difference - reach, difference + reach}
	return e, nil
}

// DifferenceOfMeans compares one value a unit (a user, a key) between two arms:
// Welch's t (1947) with Satterthwaite's degrees of freedom. At least 2 units an arm.
// The unit is the one that was assigned: requests of one user are no units.
func DifferenceOfMeans(control, treatment []float64, confidence float64) (Effect, error) {
	if err := checkShare("confidence", confidence); err != nil {
		return Effect{}, err
	}
	var arms [2]Moments
	for i, values := range [][]float64{control, treatment} {
		if err := checkValues([]string{"control", "treatment"}[i], values, 2); err != nil {
			return Effect{}, err
		}
		for _, v := range values {
			arms[i].add(v)
		}
	}
	n, m := float64(arms[0].n), float64(arms[1].n)
	a, b := arms[0].Variance()/n, arms[1].Variance()/m
	var df float64
	if a+b > 0 {
		df = (a + b) * (a + b) / (a*a/(n-1) + b*b/(m-1))
	}
	return effectOf(arms[1].mean-arms[0].mean, math.Sqrt(a+b), df, confidence)
}

// Ratio is two sums a unit whose ratio of means is looked at: clicks and views.
type Ratio struct{ Numerator, Denominator float64 }

// RatioOfMeans compares the ratios of means of two arms, with the delta method's
// standard errors (Deng, Knoblich, Lu, "Applying the Delta Method in Metric
// Analytics", KDD 2018, eq. 4). At least 2 units an arm; the mean denominators are
// not 0.
func RatioOfMeans(control, treatment []Ratio, confidence float64) (Effect, error) {
	if err := checkShare("confidence", confidence); err != nil {
		return Effect{}, err
	}
	var value, variance [2]float64
	for i, units := range [][]Ratio{control, treatment} {
		var err error
		if value[i], variance[i], err = ratio([]string{"control", "treatment"}[i], units); err != nil {
			return Effect{}, err
		}
	}
	return effectOf(value[1]-value[0], math.Sqrt(variance[0]+variance[1]), 0, confidence)
}

// ratio is the ratio of means, and its variance.
func ratio(arm string, units []Ratio) (value, variance float64, err error) {
	x, y := make([]float64, len(units)), make([]float64, len(units))
	for i, u := range units {
		x[i], y[i] = u.Denominator, u.Numerator
	}
	if err := checkValues(arm, x, 2); err != nil {
		return 0, 0, err
	}
	if err := checkValues(arm, y, 2); err != nil {
		return 0, 0, err
	}
	c := covarianceOf(x, y)
	if c.xMean == 0 {
		return 0, 0, fault(arm, "the mean denominator is 0")
	}
	value = c.yMean / c.xMean
	variance = (c.yy - 2*value*c.xy + value*value*c.xx) / (c.xMean * c.xMean * float64(len(units)))
	return value, max(0, variance), nil
}

// covariance holds second moments, divided by n-1.
type covariance struct{ xMean, yMean, xx, xy, yy float64 }

func covarianceOf(x, y []float64) covariance {
	var c covariance
	for i := range x {
		c.xMean += x[i]
		c.yMean += y[i]
	}
	n := float64(len(x))
	c.xMean /= n
	c.yMean /= n
	for i := range x {
		dx, dy := x[i]-c.xMean, y[i]-c.yMean
		c.xx += dx * dx
		c.xy += dx * dy
		c.yy += dy * dy
	}
	c.xx /= n - 1
	c.xy /= n - 1
	c.yy /= n - 1
	return c
}

// Unit is an outcome and something known before the arm could change it: the
// unit's value of last week, or the score of the arm that was not shown.
type Unit struct{ Outcome, Covariate float64 }

// CUPEDEffect is a difference of means with the covariate's part taken out.
type CUPEDEffect struct {
	Effect
	VarianceReduction float64 // share of the variance that went with it, 0 to 1
}

// CUPED compares means as [DifferenceOfMeans] does, after outcome - theta *
// (covariate - its mean), theta the pooled slope within arms (Deng, Xu, Kohavi,
// Walker, "Improving the Sensitivity of Online Controlled Experiments by Utilizing
// Pre-Experiment Data", WSDM 2013). A covariate that the arm may change biases it.
// At least 3 units an arm; a covariate that does not differ is an error.
func CUPED(control, treatment []Unit, confidence float64) (CUPEDEffect, error) {
	if err := checkShare("confidence", confidence); err != nil {
		return CUPEDEffect{}, err
	}
	var outcome, covariate [2][]float64
	var within [2]covariance
	for i, units := range [][]Unit{control, treatment} {
		for _, u := range units {
			outcome[i] = append(outcome[i], u.Outcome)
			covariate[i] = append(covariate[i], u.Covariate)
		}
		name := []string{"control", "treatment"}[i]
		if err := checkValues(name, outcome[i], 3); err != nil {
			return CUPEDEffect{}, err
		}
		if err := checkValues(name, covariate[i], 3); err != nil {
			return CUPEDEffect{}, err
		}
		within[i] = covarianceOf(covariate[i], outcome[i])
	}
	pooled := func(of func(covariance) float64) float64 {
		a, b := float64(len(control)-1), float64(len(treatment)-1)
		return (a*of(within[0]) + b*of(within[1])) / (a + b)
	}
	xx := pooled(func(c covariance) float64 { return c.xx })
	xy := pooled(func(c covariance) float64 { return c.xy })
	yy := pooled(func(c covariance) float64 { return c.yy })
	if !(xx > 0) {
		return CUPEDEffect{}, fault("covariate", "it is the same for every unit of an arm")
	}
	for i := range outcome {
		for k := range outcome[i] {
			outcome[i][k] -= xy / xx * covariate[i][k]
		}
	}
	e, err := DifferenceOfMeans(outcome[0], outcome[1], confidence)
	return CUPEDEffect{e, min(1, xy*xy/xx/yy)}, err
}
