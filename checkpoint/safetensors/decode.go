package safetensors

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"unicode/utf8"
)

// metadataKey is the one header entry that is not a tensor.
const metadataKey = "__metadata__"

// entry is one tensor's part of the header.
type entry struct {
	name       string
	shape      []int
	begin, end int // in the data
}

// Decode reads a whole file and returns its tensors in order of name. No
// tensor is allocated before the header has been found consistent with len(b).
// The errors are for whoever wrote the file; of its contents they show no more
// than a name or a number.
func Decode(b []byte, limits Limits) ([]Tensor, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	header, data, err := split(b, limits)
	if err != nil {
		return nil, err
	}
	entries, err := readHeader(header, limits)
	if err != nil {
		return nil, fmt.Errorf("header: %w", err)
	}
	if err := checkLayout(entries, len(data), limits); err != nil {
		return nil, err
	}
	tensors := make([]Tensor, 0, len(entries))
	for _, e := range entries {
		t := Tensor{Name: e.name, Shape: e.shape, Data: make([]float32, (e.end-e.begin)/f32Size)}
		for i := range t.Data {
			t.Data[i] = math.Float32frombits(binary.LittleEndian.Uint32(data[e.begin+f32Size*i:]))
			if f := float64(t.Data[i]); math.IsNaN(f) || math.IsInf(f, 0) {
				return nil, fmt.Errorf("tensor %q: element %d is %v, must be finite", e.name, i, f)
			}
		}
		tensors = append(tensors, t)
	}
	slices.SortFunc(tensors, byName)
	return tensors, nil
}

// split cuts the file into header and data.
func split(b []byte, limits Limits) (header, data []byte, err error) {
	const lengthSize = 8
	if len(b) < lengthSize {
		return nil, nil, fmt.Errorf("file has %d bytes, too short for a header", len(b))
	}
	n := binary.LittleEndian.Uint64(b)
	rest := b[lengthSize:]
	if n > uint64(limits.HeaderBytes) {
		return nil, nil, fmt.Errorf("header length is %d, at most %d is allowed", n, limits.HeaderBytes)
	}
	if n > uint64(len(rest)) {
		return nil, nil, fmt.Errorf("header length is %d, but only %d bytes follow", n, len(rest))
	}
	return rest[:n], rest[n:], nil
}

// checkLayout wants the tensors to tile the data exactly.
func checkLayout(entries []entry, dataLen int, limits Limits) error {
	slices.SortStableFunc(entries, func(a, b entry) int {
		if a.begin != b.begin {
			return a.begin - b.begin
		}
		return a.end - b.end
	})
	at, total := 0, 0
	for _, e := range entries {
		n, err := elements(e.shape, limits.Elements)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", e.name, err)
		}
		if total += n; total > limits.Elements {
			return fmt.Errorf("tensor %q: the file has more than %d elements", e.name, limits.Elements)
		}
		switch {
		case e.begin < at:
			return fmt.Errorf("tensor %q: starts at byte %d, inside the tensor before it, which ends at %d", e.name, e.begin, at)
		case e.begin > at:
			return fmt.Errorf("tensor %q: starts at byte %d, leaving a gap after %d", e.name, e.begin, at)
		case e.end > dataLen:
			return fmt.Errorf("tensor %q: ends at byte %d, but the file holds %d bytes of data", e.name, e.end, dataLen)
		case e.end-e.begin != f32Size*n:
			return fmt.Errorf("tensor %q: has %d bytes, shape %v of %s needs %d", e.name, e.end-e.begin, e.shape, F32, f32Size*n)
		}
		at = e.end
	}
	if at != dataLen {
		return fmt.Errorf("data has %d bytes after the last tensor", dataLen-at)
	}
	return nil
}

// readHeader reads the JSON by tokens rather than into a map, since a map
// would hide a repeated name.
func readHeader(b []byte, limits Limits) ([]entry, error) {
	if !utf8.Valid(b) {
		return nil, errors.New("is not UTF-8")
	}
	if len(b) == 0 || b[0] != '{' {
		return nil, errors.New("does not begin with '{'")
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	var entries []entry
	err := readObject(dec, func(name string) error {
		if name == metadataKey {
			return readMetadata(dec)
		}
		if err := checkName(name); err != nil {
			return err
		}
		if len(entries) == limits.Tensors {
			return fmt.Errorf("more than %d tensors", limits.Tensors)
		}
		e, err := readEntry(dec, limits)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		e.name = name
		entries = append(entries, e)
		return nil
	})
	if err != nil {
		return nil, err
	}
	if _, err := dec.Token(); err != io.EOF {
		return nil, errors.New("has something after the closing '}'")
	}
	return entries, nil
}

// readObject reads one JSON object and gives each key to value, which must
// consume the value. A key that appears twice is an error.
func readObject(dec *json.Decoder, value func(key string) error) error {
	if err := expect(dec, json.Delim('{')); err != nil {
		return err
	}
	seen := map[string]bool{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return syntax(err)
		}
		key, ok := t.(string)
		if !ok {
			return errors.New("a key is not a string")
		}
		if seen[key] {
			return fmt.Errorf("%.140q appears twice", key)
		}
		seen[key] = true
		if err := value(key); err != nil {
			return err
		}
	}
	return expect(dec, json.Delim('}'))
}

func readEntry(dec *json.Decoder, limits Limits) (entry, error) {
	var (
		e       entry
		dtype   string
		offsets []int
		found   int
	)
	err := readObject(dec, func(key string) (err error) {
		found++
		switch key {
		case "dtype":
			dtype, err = readString(dec)
		case "shape":
			e.shape, err = readInts(dec, limits.Rank)
		case "data_offsets":
			offsets, err = readInts(dec, 2)
		default:
			err = errors.New("unknown key")
		}
		if err != nil {
			return fmt.Errorf("%.40q: %w", key, err)
		}
		return nil
	})
	switch {
	case err != nil:
		return entry{}, err
	case found != 3:
		return entry{}, errors.New("wants dtype, shape and data_offsets")
	case dtype != F32:
		return entry{}, fmt.Errorf("type %.20q, only %s is read", dtype, F32)
	case len(offsets) != 2 || offsets[0] > offsets[1]:
		return entry{}, fmt.Errorf("data_offsets %v are not [begin,end]", offsets)
	}
	e.begin, e.end = offsets[0], offsets[1]
	return e, nil
}

// readMetadata checks the free-form entry and forgets it.
func readMetadata(dec *json.Decoder) error {
	err := readObject(dec, func(string) error {
		_, err := readString(dec)
		return err
	})
	if err != nil {
		return fmt.Errorf("%s: %w", metadataKey, err)
	}
	return nil
}

func readString(dec *json.Decoder) (string, error) {
	t, err := dec.Token()
	if err != nil {
		return "", syntax(err)
	}
	s, ok := t.(string)
	if !ok {
		return "", errors.New("a string is wanted")
	}
	return s, nil
}

// readInts reads at most limit whole numbers, none negative and none above
// what an int32 holds: larger offsets are larger than any file that is read.
func readInts(dec *json.Decoder, limit int) ([]int, error) {
	if err := expect(dec, json.Delim('[')); err != nil {
		return nil, err
	}
	out := []int{}
	for dec.More() {
		t, err := dec.Token()
		if err != nil {
			return nil, syntax(err)
		}
		number, ok := t.(json.Number)
		if !ok {
			return nil, errors.New("a number is wanted")
		}
		n, err := number.Int64()
		if err != nil || n < 0 || n > math.MaxInt32 {
			return nil, fmt.Errorf("%.40s is not a whole number from 0 to %d", number, math.MaxInt32)
		}
		if len(out) == limit {
			return nil, fmt.Errorf("more than %d numbers", limit)
		}
		out = append(out, int(n))
	}
	return out, expect(dec, json.Delim(']'))
}

func expect(dec *json.Decoder, want json.Delim) error {
	t, err := dec.Token()
	if err != nil {
		return syntax(err)
	}
	if t != want {
		return fmt.Errorf("'%v' is wanted", want)
	}
	return nil
}

// syntax says what io.EOF means inside a document.
func syntax(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return fmt.Errorf("is not JSON: %w", err)
}
