package safetensors

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
)

// F32 is the one element type that is read and written: IEEE 754 single
// precision, little-endian.
const F32 = "F32"

const f32Size = 4

// Tensor is a named array in row-major order.
type Tensor struct {
	Name  string
	Shape []int
	Data  []float32 // as many as the product of Shape
}

// Bytes returns Data as it lies in a file: little-endian.
func (t Tensor) Bytes() []byte {
	b := make([]byte, 0, f32Size*len(t.Data))
	for _, v := range t.Data {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return b
}

// Limits bound what a file may ask of its reader.
type Limits struct {
	HeaderBytes int // longest JSON header
	Tensors     int // most tensors
	Rank        int // most dimensions of one tensor
	Elements    int // most numbers in all tensors together
}

// DefaultLimits suit a checkpoint: five tensors, of which the largest, the
// head of a ViT-L/14, has 5,376 x 768 numbers.
func DefaultLimits() Limits {
	return Limits{HeaderBytes: 64 << 10, Tensors: 64, Rank: 8, Elements: 16 << 20}
}

// Validate reports every limit that is not positive.
func (l Limits) Validate() error {
	var faults []error
	for _, f := range []struct {
		name  string
		value int
	}{
		{"HeaderBytes", l.HeaderBytes}, {"Tensors", l.Tensors}, {"Rank", l.Rank}, {"Elements", l.Elements},
	} {
		if f.value <= 0 {
			faults = append(faults, fmt.Errorf("safetensors limit %s is %d, must be positive", f.name, f.value))
		}
	}
	return errors.Join(faults...)
}

var tensorName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}$`)

// checkName refuses what could be taken for a path, and what a log or a
// terminal could not print as it is.
func checkName(name string) error {
	if !tensorName.MatchString(name) || strings.Contains(name, "..") {
		return fmt.Errorf("tensor name %.140q is not of letters, digits, '_', '-' and single '.', at most 128", name)
	}
	return nil
}

// elements returns the product of shape, or an error when it exceeds limit.
// An empty shape is a scalar: one element.
func elements(shape []int, limit int) (int, error) {
	if slices.Contains(shape, 0) {
		return 0, nil
	}
	n := 1
	for _, d := range shape {
		if d < 0 {
			return 0, fmt.Errorf("shape %v has a negative dimension", shape)
		}
		if n > limit/d {
			return 0, fmt.Errorf("shape %v has more than %d elements", shape, limit)
		}
		n *= d
	}
	return n, nil
}
