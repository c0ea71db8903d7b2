package vp8_test

import (
	"context"
	"errors"
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/vp8"
)

// boolWriter encodes decisions, RFC 6386 section 7.3.
type boolWriter struct {
	out         []byte
	bottom, rng uint32
	bits        int
}

func newBoolWriter() *boolWriter { return &boolWriter{rng: 255, bits: 24} }

func (w *boolWriter) put(set bool, p uint32) {
	split := 1 + (w.rng-1)*p>>8
	if set {
		w.bottom += split
		if w.bottom < split { // carry
			w.carry()
		}
		w.rng -= split
	} else {
		w.rng = split
	}
	for w.rng < 128 {
		w.rng <<= 1
		if w.bottom>>31 == 1 {
			w.carry()
		}
		w.bottom <<= 1
		if w.bits--; w.bits == 0 {
			w.out = append(w.out, byte(w.bottom>>24))
			w.bottom &= 1<<24 - 1
			w.bits = 8
		}
	}
}

func (w *boolWriter) carry() {
	for i := len(w.out) - 1; ; i-- {
		if w.out[i]++; w.out[i] != 0 {
			return
		}
	}
}

func (w *boolWriter) uint(v, n int) {
	for i := n - 1; i >= 0; i-- {
		w.put(v>>i&1 == 1, 128)
	}
}

func (w *boolWriter) bytes() []byte {
	w.uint(0, 32)
	return w.out
}

// header writes a frame of 16x16 pixels with index 50 and level 20, and the
// given bits for segments.
func header(segments func(w *boolWriter)) []byte {
	w := newBoolWriter()
	w.uint(0, 2)
	segments(w)
	w.uint(0, 1)  // normal filter
	w.uint(20, 6) // level
	w.uint(0, 3)  // sharpness
	w.uint(0, 1)  // no adjustments
	w.uint(0, 2)  // one partition
	w.uint(50, 7)
	w.uint(0, 5) // no other steps
	first := append(w.bytes(), make([]byte, 400)...)
	n := len(first)
	data := []byte{byte(0x10 | n<<5), byte(n >> 3), byte(n >> 11), 0x9d, 0x01, 0x2a, 16, 0, 16, 0}
	return append(append(data, first...), make([]byte, 100)...)
}

// TestSegments: they add to the frame's quantizer and level or replace them, and
// replace them where they bring none: so libwebp reads it.
func TestSegments(t *testing.T) {
	of := func(index, level int32, segments func(w *boolWriter)) {
		t.Helper()
		steps, edge, err := vp8.Steps(header(segments))
		want := uint8(2*(level+2) + level)
		if level == 0 {
			want = 0
		}
		if err != nil || steps[1] != index+4 || edge != want {
			t.Errorf("steps %v, edge %d, error %v; want AC %d, edge %d", steps, edge, err, index+4, want)
		}
	}
	with := func(absolute int) func(w *boolWriter) {
		return func(w *boolWriter) {
			w.uint(0b101, 3) // segments, no map, data
			w.uint(absolute, 1)
			w.uint(1, 1)
			w.uint(10<<1|1, 8) // -10
			w.uint(0, 3)
			w.uint(1, 1)
			w.uint(5<<1, 7) // 5
			w.uint(0, 3)
		}
	}
	of(50, 20, func(w *boolWriter) { w.uint(0, 1) })
	of(0, 0, func(w *boolWriter) { w.uint(0b100, 3) })
	of(40, 25, with(0))
	of(0, 5, with(1))
}

// TestBrokenHeaders: every error is one of damage.
func TestBrokenHeaders(t *testing.T) {
	whole := header(func(w *boolWriter) { w.uint(0, 1) })
	if _, err := (vp8.Decoder{}).Decode(context.Background(), whole); err != nil {
		t.Fatal(err)
	}
	change := func(at int, v byte) []byte {
		out := append([]byte(nil), whole...)
		out[at] = v
		return out
	}
	for name, data := range map[string][]byte{
		"empty":              nil,
		"no partition":       whole[:10],
		"first one cut":      whole[:100],
		"no coefficients":    whole[:len(whole)-100],
		"an inter frame":     change(0, whole[0]|1),
		"version 4":          change(0, whole[0]|8),
		"hidden":             change(0, whole[0]&^0x10),
		"no start code":      change(4, 0),
		"no width":           change(6, 0),
		"longer than a file": change(2, 0xff),
		"impossible modes":   change(10, 0xff),
		"impossible tokens":  append(change(len(whole)-100, 0xff), make([]byte, 4000)...),
	} {
		if _, err := (vp8.Decoder{}).Decode(context.Background(), data); !errors.Is(err, vp8.ErrCorrupt) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}
