package stats

import "math"

// Moments counts, averages and measures the spread of a stream, one value at a
// time (Welford 1962). The zero value is empty.
type Moments struct {
	n             int
	mean, squares float64
}

// MomentsOf adds all values.
func MomentsOf(values []float64) (Moments, error) {
	var m Moments
	if err := checkValues("values", values, 0); err != nil {
		return m, err
	}
	for _, v := range values {
		m.add(v)
	}
	return m, nil
}

// Add takes one finite value.
func (m *Moments) Add(value float64) error {
	if !finite(value) {
		return fault("value", "%v is not a number within ±1e60", value)
	}
	m.add(value)
	return nil
}

func (m *Moments) add(value float64) {
	m.n++
	delta := value - m.mean
	m.mean += delta / float64(m.n)
	m.squares += delta * (value - m.mean)
}

// N is the number of values.
func (m Moments) N() int { return m.n }

// Mean is 0 when there is no value.
func (m Moments) Mean() float64 { return m.mean }

// Variance is the unbiased one, 0 with fewer than two values.
func (m Moments) Variance() float64 {
	if m.n < 2 {
		return 0
	}
	return m.squares / float64(m.n-1)
}

// SD is the root of Variance.
func (m Moments) SD() float64 { return math.Sqrt(m.Variance()) }
