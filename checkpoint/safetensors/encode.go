package safetensors

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// dataAlignment is where the data begins: at a multiple of it, counted from
// the header's start, so that a mapped file can be read in place.
const dataAlignment = 8

// Encode writes tensors, in order of name whatever their order here, to a
// file that [Decode] reads. The same tensors give the same bytes.
func Encode(tensors []Tensor) ([]byte, error) {
	sorted := slices.SortedFunc(slices.Values(tensors), byName)
	var header, data bytes.Buffer
	header.WriteByte('{')
	for i, t := range sorted {
		if err := checkTensor(t); err != nil {
			return nil, err
		}
		if i > 0 {
			if sorted[i-1].Name == t.Name {
				return nil, fmt.Errorf("tensor %q appears twice", t.Name)
			}
			header.WriteByte(',')
		}
		begin := data.Len()
		data.Write(t.Bytes())
		// The name is safe inside quotes: checkName allows nothing to escape.
		fmt.Fprintf(&header, `"%s":{"dtype":"%s","shape":[%s],"data_offsets":[%d,%d]}`,
			t.Name, F32, JoinInts(t.Shape), begin, data.Len())
	}
	header.WriteByte('}')
	for header.Len()%dataAlignment != 0 {
		header.WriteByte(' ')
	}
	out := binary.LittleEndian.AppendUint64(nil, uint64(header.Len()))
	out = append(out, header.Bytes()...)
	return append(out, data.Bytes()...), nil
}

// JoinInts writes a shape as decimals with commas between them: "6,16,128".
func JoinInts(shape []int) string {
	parts := make([]string, len(shape))
	for i, d := range shape {
		parts[i] = strconv.Itoa(d)
	}
	return strings.Join(parts, ",")
}

func checkTensor(t Tensor) error {
	if err := checkName(t.Name); err != nil {
		return err
	}
	n, err := elements(t.Shape, len(t.Data))
	if err == nil && n != len(t.Data) {
		err = errors.New("shape and data disagree")
	}
	if err != nil {
		return fmt.Errorf("tensor %q: shape %v, %d numbers: %w", t.Name, t.Shape, len(t.Data), err)
	}
	return nil
}

func byName(a, b Tensor) int { return strings.Compare(a.Name, b.Name) }
