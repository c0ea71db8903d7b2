package vp8l_test

import (
	"bytes"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/vp8l"
)

// draw gives pixels: any at all, or such as differ little from one another.
func draw(r *rand.Rand, n int) []uint32 {
	p := make([]uint32, n)
	close, base := r.IntN(2) == 0, r.Uint32()
	for i := range p {
		if p[i] = r.Uint32(); close {
			p[i] = base ^ p[i]&0x07070707
		}
	}
	return p
}

// TestPredictKernels compares with portable Go for every predictor and for
// lengths around a few chunks, which leave what lies before a run alone.
func TestPredictKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for mode := range uint32(16) {
		for n := range 40 {
			for range 30 {
				in, above := draw(r, n+vp8l.Slack), draw(r, n+2+vp8l.Slack)
				got, want := draw(r, n+1+vp8l.Slack), make([]uint32, n+1)
				want[0] = got[0]
				vp8l.Predict(mode, in[:n], above, got)
				vp8l.PredictPortable(mode, in[:n], above, want)
				if !slices.Equal(got[:n+1], want) {
					t.Fatalf("predictor %d, %d pixels: got %08x, want %08x", mode, n, got[:n+1], want)
				}
			}
		}
	}
}

func TestColourKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for n := range 40 {
		for range 100 {
			row, factors := draw(r, n), r.Uint32()
			for name, run := range map[string][2]func([]uint32){
				"green": {vp8l.AddGreen, vp8l.AddGreenPortable},
				"cross": {
					func(row []uint32) { vp8l.AddCross(row, factors) },
					func(row []uint32) { vp8l.AddCrossPortable(row, factors) },
				},
			} {
				got, want := slices.Clone(row), slices.Clone(row)
				run[0](got)
				run[1](want)
				if !slices.Equal(got, want) {
					t.Fatalf("%s, factors %08x, %d pixels: got %08x, want %08x", name, factors, n, got, want)
				}
			}
			got, want := make([]byte, 3*n), make([]byte, 3*n)
			vp8l.ToRGB(got, row)
			vp8l.RGBPortable(want, row)
			if !bytes.Equal(got, want) {
				t.Fatalf("%d pixels to RGB: got %x, want %x", n, got, want)
			}
		}
	}
}

// TestCrossFactors tries every factor with every value.
func TestCrossFactors(t *testing.T) {
	for factor := range uint32(256) {
		row := make([]uint32, 256)
		for v := range row {
			row[v] = uint32(v)<<8 | uint32(v)<<16
		}
		for _, factors := range []uint32{factor, factor << 8, factor << 16, factor * 0x010101} {
			got, want := slices.Clone(row), slices.Clone(row)
			vp8l.AddCross(got, factors)
			vp8l.AddCrossPortable(want, factors)
			if !slices.Equal(got, want) {
				t.Fatalf("factors %08x differ from portable", factors)
			}
		}
	}
}
