package quality

import "fmt"

// MaxReference is the most rows that a [Reference] may have: a distance costs
// rows times views times D multiplications, on the CPU, for every answer.
const MaxReference = 1024

// Reference is a sample of the embeddings that a checkpoint was trained on. It
// never changes after construction.
type Reference struct {
	threshold float64
	dim       int
	rows      []float32 // [K,D], unit vectors
}

// NewReference takes ownership of rows [K,D], 1 to [MaxReference] unit vectors
// of length dim. A threshold is a distance, 0 to 2.
func NewReference(threshold float64, dim int, rows []float32) (*Reference, error) {
	if !(threshold >= 0 && threshold <= 2) {
		return nil, fmt.Errorf("threshold is %g, must be 0 to 2", threshold)
	}
	if dim < 1 || len(rows)%dim != 0 || len(rows) == 0 || len(rows)/dim > MaxReference {
		return nil, fmt.Errorf("%d numbers, want 1 to %d embeddings of %d", len(rows), MaxReference, dim)
	}
	for i := 0; i < len(rows); i += dim {
		if err := Embedding(rows[i : i+dim]).CheckUnit(dim); err != nil {
			return nil, fmt.Errorf("row %d: %w", i/dim, err)
		}
	}
	return &Reference{threshold: threshold, dim: dim, rows: rows}, nil
}

// Threshold is the largest distance of a picture that resembles the training
// data.
func (r *Reference) Threshold() float64 { return r.threshold }

// Rows returns the number of embeddings.
func (r *Reference) Rows() int { return len(r.rows) / r.dim }

// Dim returns the length of an embedding.
func (r *Reference) Dim() int { return r.dim }

// Data returns the embeddings [K,D]. The caller must not modify them.
func (r *Reference) Data() []float32 { return r.rows }

// Distance returns how far a picture is from the training data: the mean over
// its views of 1 - the largest cosine with any row, 0 to 2. views are unit
// vectors of length [Reference.Dim], at least one.
func (r *Reference) Distance(views []Embedding) (float64, error) {
	if len(views) == 0 {
		return 0, fmt.Errorf("distance: no view")
	}
	var sum float64
	for i, v := range views {
		if len(v) != r.dim {
			return 0, fmt.Errorf("distance: view %d has %d numbers, want %d", i, len(v), r.dim)
		}
		largest := float32(-2)
		for k := 0; k < len(r.rows); k += r.dim {
			largest = max(largest, dot(r.rows[k:k+r.dim], v))
		}
		sum += 1 - float64(largest)
	}
	// Rounding makes a picture's cosine with itself 1 and a little more.
	return min(max(sum/float64(len(views)), 0), 2), nil
}

// dot adds in eight sums, which don't wait for one another.
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3, s4, s5, s6, s7 float32
	for len(a) >= 8 && len(b) >= 8 { // two bounds that the compiler knows of
		s0 += a[0] * b[0]
		s1 += a[1] * b[1]
		s2 += a[2] * b[2]
		s3 += a[3] * b[3]
		s4 += a[4] * b[4]
		s5 += a[5] * b[5]
		s6 += a[6] * b[6]
		s7 += a[7] * b[7]
		a, b = a[8:], b[8:]
	}
	for i, v := range a {
		s0 += v * b[i]
	}
	return (s0 + s1 + s2 + s3) + (s4 + s5 + s6 + s7)
}
