package stats

import (
	"fmt"
	"math"
)

// InputError says why an argument cannot be used.
type InputError struct {
	Argument string // its name
	Fault    string // what is wrong with it
	TooFew   bool   // more data of the same kind would do
}

// Error returns both.
func (e *InputError) Error() string { return e.Argument + ": " + e.Fault }

func fault(argument, format string, args ...any) error {
	return &InputError{Argument: argument, Fault: fmt.Sprintf(format, args...)}
}

func tooFew(argument, format string, args ...any) error {
	return &InputError{Argument: argument, Fault: fmt.Sprintf(format, args...), TooFew: true}
}

// largest keeps squares and fourth powers of what is taken in finite.
const largest = 1e60

func finite(v float64) bool { return math.Abs(v) <= largest }

// checkValues wants at least fewest numbers, all finite.
func checkValues(argument string, values []float64, fewest int) error {
	for i, v := range values {
		if !finite(v) {
			return fault(argument, "value %d is %v, not a number within ±1e60", i, v)
		}
	}
	if len(values) < fewest {
		return tooFew(argument, "%d values are too few, %d are needed", len(values), fewest)
	}
	return nil
}

// checkShare wants a number between 0 and 1, both excluded.
func checkShare(argument string, v float64) error {
	if !(v > 0 && v < 1) {
		return fault(argument, "%v is not between 0 and 1", v)
	}
	return nil
}

// checkPositive wants a finite number above 0.
func checkPositive(argument string, v float64) error {
	if !(v > 0) || !finite(v) {
		return fault(argument, "%v is not a number above 0", v)
	}
	return nil
}
