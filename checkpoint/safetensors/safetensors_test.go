package safetensors_test

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
)

// file builds a safetensors file from a header and data, right or wrong.
func file(header string, data []byte) []byte {
	b := binary.LittleEndian.AppendUint64(nil, uint64(len(header)))
	return append(append(b, header...), data...)
}

func floats(values ...float32) []byte { return safetensors.Tensor{Data: values}.Bytes() }

func TestDecode(t *testing.T) {
	tests := []struct {
		name string
		file []byte
		want []safetensors.Tensor
	}{
		{"no tensor", file(`{}`, nil), []safetensors.Tensor{}},
		{"metadata alone", file(`{"__metadata__":{"by":"me"}}`, nil), []safetensors.Tensor{}},
		{
			"two, listed and stored in another order than named",
			file(`{"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"shape":[1,1],"dtype":"F32","data_offsets":[8,12]}}   `,
				floats(1, 2, -3.5)),
			[]safetensors.Tensor{
				{Name: "a", Shape: []int{1, 1}, Data: []float32{-3.5}},
				{Name: "b", Shape: []int{2}, Data: []float32{1, 2}},
			},
		},
		{
			"scalar and empty",
			file(`{"e":{"dtype":"F32","shape":[0,7],"data_offsets":[0,0]},"s":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}`,
				floats(9)),
			[]safetensors.Tensor{
				{Name: "e", Shape: []int{0, 7}, Data: []float32{}},
				{Name: "s", Shape: []int{}, Data: []float32{9}},
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := safetensors.Decode(tt.file, safetensors.DefaultLimits())
			if err != nil {
				t.Fatalf("Decode: %v", err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Decode: (-want +got)\n%s", diff)
			}
		})
	}
}

func TestDecodeRefuses(t *testing.T) {
	one := func(name, dtype, shape, offsets string) string {
		return fmt.Sprintf(`{"%s":{"dtype":"%s","shape":%s,"data_offsets":%s}}`, name, dtype, shape, offsets)
	}
	two := func(a, b string) string {
		return fmt.Sprintf(`{"a":{"dtype":"F32","shape":[1],"data_offsets":%s},"b":{"dtype":"F32","shape":[1],"data_offsets":%s}}`, a, b)
	}
	nan, inf := float32(math.NaN()), float32(math.Inf(-1))
	tests := []struct {
		name string
		file []byte
		want string
	}{
		{"nothing", nil, "0 bytes, too short"},
		{"seven bytes", make([]byte, 7), "7 bytes, too short"},
		{"header of 2^63 bytes", binary.LittleEndian.AppendUint64(nil, 1<<63),
			"header length is 9223372036854775808, at most"},
		{"header of 2^64-1 bytes", binary.LittleEndian.AppendUint64(nil, math.MaxUint64), "at most 65536 is allowed"},
		{"header longer than the file", binary.LittleEndian.AppendUint64(nil, 9), "only 0 bytes follow"},
		{"empty header", file("", nil), "does not begin with '{'"},
		{"leading space", file(" {}", nil), "does not begin with '{'"},
		{"not an object", file("[]", nil), "does not begin with '{'"},
		{"cut JSON", file(`{"a":`, nil), "unexpected EOF"},
		{"not JSON", file(`{a}`, nil), "is not JSON"},
		{"two documents", file(`{}{}`, nil), "after the closing"},
		{"not UTF-8", file("{\"\xff\":1}", nil), "is not UTF-8"},
		{"name twice",
			file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}`,
				floats(1, 2)), `"a" appears twice`},
		{"key twice", file(`{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}`, floats(1)),
			`"dtype" appears twice`},
		{"unknown key", file(`{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}`, floats(1)), "unknown key"},
		{"key in another case", file(`{"a":{"DTYPE":"F32","shape":[1],"data_offsets":[0,4]}}`, floats(1)), "unknown key"},
		{"missing key", file(`{"a":{"dtype":"F32","shape":[1]}}`, nil), "wants dtype, shape and data_offsets"},
		{"entry is not an object", file(`{"a":[1]}`, nil), "'{' is wanted"},
		{"metadata of numbers", file(`{"__metadata__":{"a":1}}`, nil), "a string is wanted"},
		{"half precision", file(one("a", "F16", "[1]", "[0,2]"), make([]byte, 2)), `type "F16", only F32 is read`},
		{"double precision", file(one("a", "F64", "[1]", "[0,8]"), make([]byte, 8)), `type "F64"`},
		{"path as name", file(one("../../etc/passwd", "F32", "[1]", "[0,4]"), floats(1)), "tensor name"},
		{"absolute path as name", file(one("/a", "F32", "[1]", "[0,4]"), floats(1)), "tensor name"},
		{"dots in name", file(one("a..b", "F32", "[1]", "[0,4]"), floats(1)), "tensor name"},
		{"NUL in name", file(one(`a\u0000`, "F32", "[1]", "[0,4]"), floats(1)), "tensor name"},
		{"empty name", file(one("", "F32", "[1]", "[0,4]"), floats(1)), "tensor name"},
		{"long name", file(one(strings.Repeat("a", 129), "F32", "[1]", "[0,4]"), floats(1)), "tensor name"},
		{"negative dimension", file(one("a", "F32", "[-1]", "[0,4]"), floats(1)), "-1 is not a whole number"},
		{"fraction as dimension", file(one("a", "F32", "[1.0]", "[0,4]"), floats(1)), "1.0 is not a whole number"},
		{"string as dimension", file(one("a", "F32", `["1"]`, "[0,4]"), floats(1)), "a number is wanted"},
		{"dimension of 2^31", file(one("a", "F32", "[2147483648]", "[0,4]"), floats(1)), "not a whole number"},
		{"product overflows", file(one("a", "F32", "[2147483647,2147483647,2147483647,2147483647]", "[0,4]"), floats(1)),
			"elements"},
		{"product overflows to the right size", file(one("a", "F32", "[2147483647,2147483647,4]", "[0,4]"), floats(1)),
			"elements"},
		{"too many dimensions", file(one("a", "F32", "[1,1,1,1,1,1,1,1,1]", "[0,4]"), floats(1)), "more than 8 numbers"},
		{"shape too small for bytes", file(one("a", "F32", "[1]", "[0,8]"), floats(1, 2)),
			"has 8 bytes, shape [1] of F32 needs 4"},
		{"shape too large for bytes", file(one("a", "F32", "[3]", "[0,8]"), floats(1, 2)), "needs 12"},
		{"offsets backwards", file(one("a", "F32", "[1]", "[4,0]"), floats(1)), "not [begin,end]"},
		{"three offsets", file(one("a", "F32", "[1]", "[0,4,8]"), floats(1)), "more than 2 numbers"},
		{"offset of 2^63", file(one("a", "F32", "[1]", "[0,9223372036854775808]"), floats(1)), "not a whole number"},
		{"past the end", file(one("a", "F32", "[2]", "[0,8]"), floats(1)), "ends at byte 8, but the file holds 4"},
		{"overlap", file(two("[0,4]", "[2,6]"), make([]byte, 6)), "inside the tensor before it"},
		{"same bytes twice", file(two("[0,4]", "[0,4]"), floats(1)), "inside the tensor before it"},
		{"gap", file(two("[0,4]", "[8,12]"), floats(1, 2, 3)), "leaving a gap after 4"},
		{"gap at the start", file(one("a", "F32", "[1]", "[4,8]"), floats(1, 2)), "leaving a gap after 0"},
		{"bytes left over", file(one("a", "F32", "[1]", "[0,4]"), floats(1, 2)), "4 bytes after the last tensor"},
		{"not a number", file(one("a", "F32", "[2]", "[0,8]"), floats(1, nan)), "element 1 is NaN"},
		{"infinite", file(one("a", "F32", "[1]", "[0,4]"), floats(inf)), "element 0 is -Inf"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := safetensors.Decode(tt.file, safetensors.DefaultLimits())
			if err == nil {
				t.Fatalf("Decode gave %d tensors, want an error with %q", len(got), tt.want)
			}
			if !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode: %q, want an error with %q", err, tt.want)
			}
			if len(err.Error()) > 400 {
				t.Errorf("Decode: error of %d bytes echoes the file", len(err.Error()))
			}
		})
	}
}

func TestDecodeLimits(t *testing.T) {
	b, err := safetensors.Encode([]safetensors.Tensor{
		{Name: "a", Shape: []int{2, 2}, Data: make([]float32, 4)},
		{Name: "b", Shape: []int{3}, Data: make([]float32, 3)},
	})
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		set  func(*safetensors.Limits)
		want string // "" where the limit is just wide enough
	}{
		{"exact", func(l *safetensors.Limits) { l.Tensors, l.Rank, l.Elements = 2, 2, 7 }, ""},
		{"header", func(l *safetensors.Limits) { l.HeaderBytes = 10 }, "at most 10"},
		{"tensors", func(l *safetensors.Limits) { l.Tensors = 1 }, "more than 1 tensors"},
		{"rank", func(l *safetensors.Limits) { l.Rank = 1 }, "more than 1 numbers"},
		{"elements of one", func(l *safetensors.Limits) { l.Elements = 3 }, "more than 3 elements"},
		{"elements of all", func(l *safetensors.Limits) { l.Elements = 6 }, "more than 6 elements"},
		{"two not set", func(l *safetensors.Limits) { l.Elements, l.Rank = 0, -1 },
			"Rank is -1, must be positive\nsafetensors limit Elements is 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			limits := safetensors.DefaultLimits()
			tt.set(&limits)
			_, err := safetensors.Decode(b, limits)
			if tt.want == "" {
				if err != nil {
					t.Errorf("Decode: %v, want none", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Decode: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestEncode(t *testing.T) {
	a := safetensors.Tensor{Name: "a", Shape: []int{2}, Data: []float32{1, 2}}
	z := safetensors.Tensor{Name: "z", Shape: []int{1, 1}, Data: []float32{3}}
	first, err := safetensors.Encode([]safetensors.Tensor{a, z})
	if err != nil {
		t.Fatal(err)
	}
	second, err := safetensors.Encode([]safetensors.Tensor{z, a})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, second) {
		t.Error("the order of the arguments changes the file")
	}
	if n := binary.LittleEndian.Uint64(first); n%8 != 0 {
		t.Errorf("header length %d is not a multiple of 8", n)
	}
	got, err := safetensors.Decode(first, safetensors.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]safetensors.Tensor{a, z}, got); diff != "" {
		t.Errorf("round trip: (-want +got)\n%s", diff)
	}
}

func TestEncodeRefuses(t *testing.T) {
	ok := safetensors.Tensor{Name: "a", Shape: []int{1}, Data: []float32{1}}
	tests := []struct {
		name    string
		tensors []safetensors.Tensor
		want    string
	}{
		{"name twice", []safetensors.Tensor{ok, ok}, "appears twice"},
		{"bad name", []safetensors.Tensor{{Name: `a"`, Shape: []int{1}, Data: []float32{1}}}, "tensor name"},
		{"shape too large", []safetensors.Tensor{{Name: "a", Shape: []int{2}, Data: []float32{1}}}, "shape [2]"},
		{"shape too small", []safetensors.Tensor{{Name: "a", Shape: []int{1}, Data: []float32{1, 2}}}, "disagree"},
		{"negative", []safetensors.Tensor{{Name: "a", Shape: []int{-1, -1}, Data: []float32{1}}}, "negative"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := safetensors.Encode(tt.tensors); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Encode: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

// FuzzDecode holds that whatever is accepted is what it says: finite, of the
// promised sizes, within the limits, and the same after a round trip.
func FuzzDecode(f *testing.F) {
	f.Add([]byte(nil))
	f.Add(file(`{}`, nil))
	f.Add(file(`{"__metadata__":{"a":"b"},"a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]}}`, floats(1, 2)))
	f.Add(file(`{"b":{"dtype":"F32","shape":[],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[0],"data_offsets":[4,4]}}`, floats(1)))
	f.Add(file(`{"a":{"dtype":"F32","shape":[2147483647,2147483647],"data_offsets":[0,4]}}`, floats(1)))
	f.Add(binary.LittleEndian.AppendUint64(nil, 1<<63))
	limits := safetensors.Limits{HeaderBytes: 4096, Tensors: 4, Rank: 4, Elements: 256}
	f.Fuzz(func(t *testing.T, b []byte) {
		tensors, err := safetensors.Decode(b, limits)
		if err != nil {
			return
		}
		total := 0
		for _, x := range tensors {
			n := 1
			for _, d := range x.Shape {
				n *= d
			}
			if n != len(x.Data) {
				t.Errorf("tensor %q: shape %v with %d numbers", x.Name, x.Shape, len(x.Data))
			}
			if total += n; total > limits.Elements || len(x.Shape) > limits.Rank {
				t.Errorf("tensor %q: shape %v is beyond the limits", x.Name, x.Shape)
			}
			for i, v := range x.Data {
				if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
					t.Errorf("tensor %q: element %d is %v", x.Name, i, v)
				}
			}
		}
		if len(tensors) > limits.Tensors {
			t.Errorf("%d tensors, limit %d", len(tensors), limits.Tensors)
		}
		again, err := safetensors.Encode(tensors)
		if err != nil {
			t.Fatalf("Encode refuses what Decode gave: %v", err)
		}
		back, err := safetensors.Decode(again, safetensors.DefaultLimits())
		if err != nil {
			t.Fatalf("Decode refuses what Encode gave: %v", err)
		}
		if diff := cmp.Diff(tensors, back); diff != "" {
			t.Errorf("round trip: (-first +second)\n%s", diff)
		}
	})
}
