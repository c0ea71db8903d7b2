package encoder

import (
	"fmt"
	"math"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
)

// Endings of the tensors' names in a calibration file.
const (
	smoothEnd    = ".smooth"
	inputScale   = ".input_scale"
	zeroPointEnd = ".input_zero_point"
)

// Calibration says how the int8 graph scales what enters its matrix
// multiplications. It is measured once, on pictures, and static: a scale taken
// over a batch would make an image's score depend on its neighbours.
//
// For each multiplication, layers.0.qkv to layers.11.fc2 and proj, a file of
// safetensors (F32) holds NAME.input_scale [1] and NAME.input_zero_point [1]
// of the 8-bit input, and, except for proj, NAME.smooth [in]: the factors
// (SmoothQuant) by which channels of the input are divided and rows of the
// weights multiplied, so that a few large channels don't take the scale from
// all others. Scales and zero points are of the divided input.
type Calibration struct {
	tensors map[string]safetensors.Tensor
}

// activation is how the input of a multiplication becomes 8 bits:
// real = scale * (q - zero).
type activation struct {
	scale float32
	zero  uint8
}

// ParseCalibration reads a calibration file.
func ParseCalibration(file []byte) (*Calibration, error) {
	limits := safetensors.DefaultLimits()
	limits.Tensors, limits.Elements = 1024, 1<<20
	tensors, err := safetensors.Decode(file, limits)
	if err != nil {
		return nil, fmt.Errorf("calibration: %w", err)
	}
	c := &Calibration{tensors: make(map[string]safetensors.Tensor, len(tensors))}
	for _, t := range tensors {
		c.tensors[t.Name] = t
	}
	return c, nil
}

// factors returns how much to divide the n channels of the input by.
func (c *Calibration) factors(multiplication string, n int) ([]float32, error) {
	return c.positive(multiplication+smoothEnd, n)
}

func (c *Calibration) activation(multiplication string) (activation, error) {
	scale, err := c.positive(multiplication+inputScale, 1)
	if err != nil {
		return activation{}, err
	}
	zero, ok := c.tensors[multiplication+zeroPointEnd]
	if !ok || len(zero.Data) != 1 {
		return activation{}, fmt.Errorf("calibration: %s isn't one number", multiplication+zeroPointEnd)
	}
	z := float64(zero.Data[0])
	if z != math.Trunc(z) || z < 0 || z > math.MaxUint8 {
		return activation{}, fmt.Errorf("calibration: %s is %v, want a whole number from 0 to 255",
			multiplication+zeroPointEnd, z)
	}
	return activation{scale[0], uint8(z)}, nil
}

func (c *Calibration) positive(name string, n int) ([]float32, error) {
	t, ok := c.tensors[name]
	if !ok || len(t.Data) != n {
		return nil, fmt.Errorf("calibration: %s has %d numbers, want %d", name, len(t.Data), n)
	}
	for i, v := range t.Data {
		if v <= 0 {
			return nil, fmt.Errorf("calibration: %s[%d] is %v, want a positive number", name, i, v)
		}
	}
	return t.Data, nil
}
