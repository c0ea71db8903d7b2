package analysis

import (
	"encoding/json"
	"math"
)

// Number is a figure that may not be known yet: NaN or infinite here, null in
// JSON.
type Number float64

// unknown is a figure that nothing is known of.
func unknown() Number { return Number(math.NaN()) }

// Known reports whether there is a figure.
func (n Number) Known() bool { return !math.IsNaN(float64(n)) && !math.IsInf(float64(n), 0) }

// MarshalJSON writes null for what is not known.
func (n Number) MarshalJSON() ([]byte, error) {
	if !n.Known() {
		return []byte("null"), nil
	}
	return json.Marshal(float64(n))
}

// UnmarshalJSON reads null as NaN.
func (n *Number) UnmarshalJSON(data []byte) error {
	if string(data) == "null" {
		*n = unknown()
		return nil
	}
	return json.Unmarshal(data, (*float64)(n))
}
