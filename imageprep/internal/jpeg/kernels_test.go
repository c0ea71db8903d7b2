package jpeg_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/jpeg"
)

// TestInverseDCTKernels compares with portable Go, for each size of a block's
// side: blocks as encoders write them, sparse ones, and any bits at all, whose
// sums wrap around. Nothing else is written.
func TestInverseDCTKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	kinds := map[string]func() (int16, int32){
		"ordinary": func() (int16, int32) { return int16(r.IntN(65) - 32), int32(1 + r.IntN(40)) },
		"sparse": func() (int16, int32) {
			return int16((r.IntN(401) - 200) * max(0, r.IntN(12)-10)), int32(1 + r.IntN(100))
		},
		"any": func() (int16, int32) { return int16(r.Uint32()), int32(r.IntN(1 << 16)) },
	}
	const stride = 24
	for name, draw := range kinds {
		t.Run(name, func(t *testing.T) {
			for range 20_000 {
				var block [64]int16
				var quant jpeg.QuantTable
				for i := range block {
					block[i], quant[i] = draw()
				}
				for side, dct := range jpeg.InverseDCTs {
					got, want := make([]byte, 8*stride), make([]byte, 8*stride)
					dct.Kernel(&block, &quant, got[8:8+(side-1)*stride+side], stride)
					dct.Portable(&block, &quant, want[8:], stride)
					if !bytes.Equal(got, want) {
						t.Fatalf("side %d, block %v, steps %v:\n got %v\nwant %v", side, block, quant, got, want)
					}
				}
			}
		})
	}
}

// TestFlatBlocks: every DC coefficient alone, with small and large steps. The
// smaller transforms wrap around for those beyond any that an encoder writes.
func TestFlatBlocks(t *testing.T) {
	for _, step := range []int32{1, 3, 16, 255, 65535} {
		quant := jpeg.QuantTable{step}
		for dc := -32768; dc <= 32767; dc++ {
			for side, dct := range jpeg.InverseDCTs {
				if side < 8 && max(dc, -dc)*int(step) > 1<<13 {
					continue
				}
				var got, want [64]byte
				jpeg.Flat(int32(int16(dc))*step, got[:], 8, side)
				dct.Portable(&[64]int16{int16(dc)}, &quant, want[:], 8)
				if got != want {
					t.Fatalf("side %d, dc %d, step %d: got %v, want %v", side, dc, step, got, want)
				}
			}
		}
	}
}

// TestColourKernel covers every pair of chroma samples with every fifth luma,
// so every colour difference and every way to clamp.
func TestColourKernel(t *testing.T) {
	const n = 256
	var y, cb, cr [n]byte
	got, want := make([]byte, 3*n), make([]byte, 3*n)
	for u := range 256 {
		for l := range 52 {
			for i := range n {
				y[i], cb[i], cr[i] = byte(5*l), byte(u), byte(i)
			}
			if done := jpeg.YCCChunks(got, y[:], cb[:], cr[:]); done != n && done != 0 {
				t.Fatalf("%d of %d pixels done", done, n)
			} else if done == 0 {
				jpeg.YCCPortable(got, y[:], cb[:], cr[:])
			}
			jpeg.YCCPortable(want, y[:], cb[:], cr[:])
			if !bytes.Equal(got, want) {
				t.Fatalf("y %d, cb %d: differs from portable", 5*l, u)
			}
		}
	}
}

// TestFilterKernels covers every width around one and two chunks.
func TestFilterKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for width := 3; width < 70; width++ {
		for range 50 {
			near, far := make([]byte, width), make([]byte, width)
			for i := range near {
				near[i], far[i] = extreme(r), extreme(r)
			}
			got, want := make([]byte, 2*width), make([]byte, 2*width)
			jpeg.FilterH(near, got, 1+jpeg.HChunks(near, got))
			jpeg.FilterH(near, want, 1)
			if !bytes.Equal(got, want) {
				t.Fatalf("one row of %d: got %v, want %v", width, got, want)
			}
			jpeg.FilterHV(near, far, got, 1+jpeg.HVChunks(near, far, got))
			jpeg.FilterHV(near, far, want, 1)
			if !bytes.Equal(got, want) {
				t.Fatalf("two rows of %d: got %v, want %v", width, got, want)
			}
		}
	}
}

// extreme draws 0 and 255 often.
func extreme(r *rand.Rand) byte {
	if v := r.IntN(512); v < 256 {
		return byte(v)
	}
	return byte(-r.IntN(2))
}
