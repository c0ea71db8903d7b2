package torchfile

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
)

// DType is the type of a tensor's elements, in PyTorch's words.
type DType string

// The types that a file may hold.
const (
	Float32  DType = "float32"
	Float16  DType = "float16"
	BFloat16 DType = "bfloat16"
	Float64  DType = "float64"
	Int64    DType = "int64"
	Int32    DType = "int32"
	Int16    DType = "int16"
	Int8     DType = "int8"
	Uint8    DType = "uint8"
	Bool     DType = "bool"
)

// size is the number of bytes of an element.
func (t DType) size() int64 {
	switch t {
	case Float64, Int64:
		return 8
	case Float32, Int32:
		return 4
	case Float16, BFloat16, Int16:
		return 2
	}
	return 1
}

// Tensor is an array in a file, whose numbers have not been read yet.
type Tensor struct {
	Shape []int // empty: a single number
	DType DType

	storage  *storage
	offset   int   // of the first element in the storage, in elements
	strides  []int // as long as Shape, in elements
	elements int   // the product of Shape
}

// storage is the bytes that tensors are views of.
type storage struct {
	archive *archive
	name    string // of its entry
	span    span
	dtype   DType
	numel   int
}

// Len returns the number of elements, the product of Shape.
func (t Tensor) Len() int { return t.elements }

// Float32 reads the numbers, row-major as Shape says, whatever the order in
// which the storage holds them. Half and bfloat16 widen exactly; float64 is
// rounded to the nearest, and to infinity where it is too large. NaN and
// infinity are not refused. Any other type is an error. It reads the whole
// storage each time, also for a small view of it, so that its checksum can be
// held against the archive's.
func (t Tensor) Float32() ([]float32, error) {
	var decode func([]byte) float32
	switch t.DType {
	case Float32:
		decode = func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) }
	case Float16:
		decode = func(b []byte) float32 { return half(binary.LittleEndian.Uint16(b)) }
	case BFloat16: // the upper half of a float32
		decode = func(b []byte) float32 { return math.Float32frombits(uint32(binary.LittleEndian.Uint16(b)) << 16) }
	case Float64:
		decode = func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) }
	default:
		return nil, fmt.Errorf("is of type %s, not of floating point", t.DType)
	}
	raw, err := t.storage.archive.load(t.storage.span)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.storage.name, err)
	}
	out := make([]float32, 0, t.elements)
	size := int(t.DType.size())
	for at := range t.places() {
		out = append(out, decode(raw[at*size:]))
	}
	return out, nil
}

// places gives where in the storage each element lies, row-major.
func (t Tensor) places() iter.Seq[int] {
	return func(yield func(int) bool) {
		index := make([]int, len(t.Shape))
		at := t.offset
		for range t.elements {
			if !yield(at) {
				return
			}
			// Count up as an odometer does: the last dimension is the fastest.
			for d := len(index) - 1; d >= 0; d-- {
				index[d]++
				at += t.strides[d]
				if index[d] < t.Shape[d] {
					break
				}
				at -= index[d] * t.strides[d]
				index[d] = 0
			}
		}
	}
}

// half widens an IEEE 754 binary16: 1 bit of sign, 5 of exponent, 10 of
// fraction.
func half(bits uint16) float32 {
	sign := uint32(bits>>15) << 31
	exponent, fraction := uint32(bits>>10&0x1f), uint32(bits&0x3ff)
	switch exponent {
	case 0: // subnormal: a count of 2^-24
		return math.Float32frombits(sign | math.Float32bits(float32(fraction)*0x1p-24))
	case 0x1f: // infinity, NaN
		return math.Float32frombits(sign | 0xff<<23 | fraction<<13)
	}
	return math.Float32frombits(sign | (exponent+127-15)<<23 | fraction<<13)
}
