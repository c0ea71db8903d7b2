package vp8l_test

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/vp8l"
)

// bitWriter puts codes as they stand in a file.
type bitWriter struct {
	data []byte
	n    int
}

func (w *bitWriter) put(code, length int) {
	for i := length - 1; i >= 0; i-- { // a code's first bit is its highest
		if w.n%8 == 0 {
			w.data = append(w.data, 0)
		}
		w.data[w.n/8] |= byte(code>>i&1) << (w.n % 8)
		w.n++
	}
}

// canonical gives the code of each symbol, RFC 1951 section 3.2.2.
func canonical(lengths []uint8) []int {
	codes := make([]int, len(lengths))
	code := 0
	for n := uint8(1); n <= 15; n++ {
		for s, l := range lengths {
			if l == n {
				codes[s] = code
				code++
			}
		}
		code <<= 1
	}
	return codes
}

// complete draws lengths that use all bits up: it splits leaves of a tree.
func complete(r *rand.Rand, symbols int) []uint8 {
	leaves := []uint8{1, 1}
	for len(leaves) < symbols {
		i := r.IntN(len(leaves))
		if r.IntN(2) == 0 {
			i = len(leaves) - 1
		}
		if leaves[i] < 15 {
			leaves[i]++
			leaves = append(leaves, leaves[i])
		}
	}
	out := make([]uint8, symbols+r.IntN(20))
	for i, at := range r.Perm(len(out))[:symbols] {
		out[at] = leaves[i]
	}
	return out
}

// TestCodesDecodeWhatWasWritten: codes of every shape, long ones too.
func TestCodesDecodeWhatWasWritten(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 400 {
		lengths := complete(r, 2+r.IntN(300))
		codes := canonical(lengths)
		var w bitWriter
		var want []uint32
		for range 200 {
			s := r.IntN(len(lengths))
			if lengths[s] > 0 {
				w.put(codes[s], int(lengths[s]))
				want = append(want, uint32(s))
			}
		}
		got, err := vp8l.Symbols(lengths, w.data, len(want))
		if err != nil || !slices.Equal(got, want) {
			t.Fatalf("lengths %v: got %v, %v; want %v", lengths, got, err, want)
		}
	}
}

func TestCodesThatAreNone(t *testing.T) {
	for name, tc := range map[string]struct {
		lengths []uint8
		sound   bool
	}{
		"no symbol":                {[]uint8{0, 0}, false},
		"one symbol":               {[]uint8{0, 0, 7}, true},
		"two symbols":              {[]uint8{1, 0, 1}, true},
		"two symbols, too long":    {[]uint8{1, 2}, false},
		"three symbols, too short": {[]uint8{1, 1, 2}, false},
		"long":                     {[]uint8{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 15}, true},
		"long, one short of full":  {[]uint8{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}, false},
	} {
		_, err := vp8l.Symbols(tc.lengths, nil, 0)
		if (err == nil) != tc.sound || err != nil && !errors.Is(err, vp8l.ErrCorrupt) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
