package stats

import (
	"fmt"
	"math"
)

// fault is the error about an argument: its name, a colon, what's wrong with it.
func fault(argument, format string, args ...any) error {
	return fmt.Errorf(argument+": "+format, args...)
}

// largest keeps squares and fourth powers of the input finite.
const largest = 1e60

func finite(v float64) bool { return math.Abs(v) <= largest }

// checkValues requires at least fewest numbers, all finite.
func checkValues(argument string, values []float64, fewest int) error {
	for i, v := range values {
		if !finite(v) {
			return fault(argument, "value %d is %v, not a number within ±1e60", i, v)
		}
	}
	if len(values) < fewest {
		return fault(argument, "%d values are too few, %d are needed", len(values), fewest)
	}
	return nil
}

// checkShare requires a number between 0 and 1, both excluded.
func checkShare(argument string, v float64) error {
	if !(v > 0 && v < 1) {
		return fault(argument, "%v is not between 0 and 1", v)
	}
	return nil
}

// checkPositive requires a finite number above 0.
func checkPositive(argument string, v float64) error {
	if !(v > 0) || !finite(v) {
		return fault(argument, "%v is not a number above 0", v)
	}
	return nil
}
