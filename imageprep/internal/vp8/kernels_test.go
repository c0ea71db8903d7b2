package vp8_test

import (
	"bytes"
	"fmt"
	"math/bits"
	"math/rand/v2"
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/vp8"
)

const stride = 48

// noise draws samples that vary by up to depth around a level, and now and then
// anything.
func noise(r *rand.Rand, n, depth int) []byte {
	b := make([]byte, n)
	level := r.IntN(256)
	for i := range b {
		if b[i] = byte(max(0, min(level+r.IntN(2*depth+1)-depth, 255))); r.IntN(16) == 0 {
			b[i] = byte(r.IntN(256))
		}
		if r.IntN(8) == 0 {
			level = r.IntN(256)
		}
	}
	return b
}

// TestTransformKernels compares with portable Go: residuals as encoders write
// them, sparse ones, and any bits at all, whose sums wrap around. Blocks come
// back cleared.
func TestTransformKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	draws := map[string]func() int16{
		"ordinary": func() int16 { return int16(r.IntN(401) - 200) },
		"sparse":   func() int16 { return int16((r.IntN(4001) - 2000) * max(0, r.IntN(12)-10)) },
		"any":      func() int16 { return int16(r.Uint32()) },
	}
	for name, draw := range draws {
		for range 5000 {
			var c [64]int16
			for i := range c {
				c[i] = draw()
			}
			before := noise(r, 8*stride, 20)
			for what, run := range map[string]func(c *[64]int16, dst []byte, fast bool){
				"one": func(c *[64]int16, dst []byte, fast bool) {
					add := vp8.AddBlockPortable
					if fast {
						add = vp8.AddBlock
					}
					for i := range 4 {
						add((*[16]int16)(c[16*i:]), dst[4*i:], stride)
					}
				},
				"four": func(c *[64]int16, dst []byte, fast bool) {
					if fast {
						vp8.AddFour(c, dst, stride)
					} else {
						vp8.AddFourPortable(c, dst, stride)
					}
				},
				"square": func(c *[64]int16, dst []byte, fast bool) {
					if fast {
						vp8.AddSquare(c, dst, stride)
					} else {
						vp8.AddSquarePortable(c, dst, stride)
					}
				},
			} {
				got, want, left := bytes.Clone(before), bytes.Clone(before), c
				again := c
				run(&left, got, true)
				run(&again, want, false)
				if !bytes.Equal(got, want) || left != [64]int16{} || again != left {
					t.Fatalf("%s, %s of %v: differs from portable, or isn't cleared", name, what, c)
				}
			}
		}
	}
}

func TestTrueMotionKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 5000 {
		for _, side := range []int{8, 16} {
			got := noise(r, 18*stride, 60)
			want := bytes.Clone(got)
			vp8.PredictTM(got, stride+8, stride, side)
			vp8.PredictTMPortable(want, stride+8, stride, side)
			if !bytes.Equal(got, want) {
				t.Fatalf("side %d: differs from portable", side)
			}
		}
	}
}

// TestFilterKernels compares each filter with portable Go, which takes one
// position at a time, over all planes' samples.
func TestFilterKernels(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	const at = 8*stride + 16
	changed := 0
	for range 4000 {
		level := r.IntN(64)
		interior := 1 + r.IntN(max(1, level))
		s := vp8.NewStrength(uint8(2*(level+2)+interior), uint8(2*level+interior), uint8(interior), uint8(r.IntN(3)))
		y, u, v := noise(r, 40*stride, 1+r.IntN(20)), noise(r, 40*stride, 1+r.IntN(20)), noise(r, 40*stride, 1+r.IntN(20))
		for name, run := range map[string][2]func(y, u, v []byte){
			"edge luma columns": {
				func(y, _, _ []byte) { vp8.EdgeLumaColumns(y, at, stride, s) },
				func(y, _, _ []byte) { vp8.EdgePortable(y, at, 1, stride, 16, s) },
			},
			"edge luma rows": {
				func(y, _, _ []byte) { vp8.EdgeLumaRows(y, at, stride, s) },
				func(y, _, _ []byte) { vp8.EdgePortable(y, at, stride, 1, 16, s) },
			},
			"inner luma columns": {
				func(y, _, _ []byte) { vp8.InnerLumaColumns(y, at, stride, s) },
				func(y, _, _ []byte) {
					for i := 4; i < 16; i += 4 {
						vp8.InnerPortable(y, at+i, 1, stride, 16, s)
					}
				},
			},
			"inner luma rows": {
				func(y, _, _ []byte) { vp8.InnerLumaRows(y, at, stride, s) },
				func(y, _, _ []byte) {
					for i := 4; i < 16; i += 4 {
						vp8.InnerPortable(y, at+i*stride, stride, 1, 16, s)
					}
				},
			},
			"edge chroma columns": {
				func(_, u, v []byte) { vp8.EdgeChromaColumns(u, v, at, stride, s) },
				func(_, u, v []byte) {
					vp8.EdgePortable(u, at, 1, stride, 8, s)
					vp8.EdgePortable(v, at, 1, stride, 8, s)
				},
			},
			"edge chroma rows": {
				func(_, u, v []byte) { vp8.EdgeChromaRows(u, v, at, stride, s) },
				func(_, u, v []byte) {
					vp8.EdgePortable(u, at, stride, 1, 8, s)
					vp8.EdgePortable(v, at, stride, 1, 8, s)
				},
			},
			"inner chroma columns": {
				func(_, u, v []byte) { vp8.InnerChromaColumns(u, v, at, stride, s) },
				func(_, u, v []byte) {
					vp8.InnerPortable(u, at+4, 1, stride, 8, s)
					vp8.InnerPortable(v, at+4, 1, stride, 8, s)
				},
			},
			"inner chroma rows": {
				func(_, u, v []byte) { vp8.InnerChromaRows(u, v, at, stride, s) },
				func(_, u, v []byte) {
					vp8.InnerPortable(u, at+4*stride, stride, 1, 8, s)
					vp8.InnerPortable(v, at+4*stride, stride, 1, 8, s)
				},
			},
		} {
			var got [2][]byte
			for i, filter := range run {
				planes := [3][]byte{bytes.Clone(y), bytes.Clone(u), bytes.Clone(v)}
				filter(planes[0], planes[1], planes[2])
				got[i] = bytes.Join(planes[:], nil)
			}
			if !bytes.Equal(got[0], got[1]) {
				t.Fatalf("%s, strength %+v: differs from portable", name, s)
			}
			if !bytes.Equal(got[0], bytes.Join([][]byte{y, u, v}, nil)) {
				changed++
			}
		}
	}
	if changed < 8*4000/4 {
		t.Errorf("only %d of %d calls changed anything", changed, 8*4000)
	}
}

// TestUpsampleKernel covers every width around one and two chunks.
func TestUpsampleKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	for width := 1; width < 70; width++ {
		for range 50 {
			near, far := noise(r, width, 128), noise(r, width, 128)
			got, want := make([]byte, 2*width), make([]byte, 2*width)
			if !vp8.UpsampleFast(near, far, got) {
				vp8.Upsample(near, far, got)
			}
			vp8.Upsample(near, far, want)
			if !bytes.Equal(got, want) {
				t.Fatalf("width %d: got %v, want %v", width, got, want)
			}
		}
	}
}

// TestColourKernel covers every pair of chroma samples with every fifth luma,
// and widths around one and two chunks.
func TestColourKernel(t *testing.T) {
	const n = 256
	var y, cb, cr [n]byte
	got, want := make([]byte, 3*n), make([]byte, 3*n)
	compare := func(w int) {
		t.Helper()
		clear(got)
		clear(want)
		if !vp8.RGBFast(got[:3*w], y[:w], cb[:w], cr[:w]) {
			vp8.RGB(got[:3*w], y[:w], cb[:w], cr[:w])
		}
		vp8.RGB(want[:3*w], y[:w], cb[:w], cr[:w])
		if !bytes.Equal(got, want) {
			t.Fatalf("width %d, y %d, cb %d: differs from portable", w, y[0], cb[0])
		}
	}
	for u := range 256 {
		for l := range 52 {
			for i := range n {
				y[i], cb[i], cr[i] = byte(5*l), byte(u), byte(i)
			}
			compare(n)
		}
	}
	r := rand.New(rand.NewPCG(9, 10))
	for w := 1; w < 70; w++ {
		copy(y[:], noise(r, n, 128))
		copy(cb[:], noise(r, n, 128))
		compare(w)
	}
}

// TestPredictBlock compares each mode with the formulas of RFC 6386, section
// 12.3, along the edge from the lowest sample at the left to the last one above.
func TestPredictBlock(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	for range 3000 {
		before := noise(r, 6*stride, 128)
		const at = stride + 8
		right := r.Uint32()
		// e[4] is the corner; a and l count from it to the right and down.
		var e [13]int
		for i := range 4 {
			e[3-i] = int(before[at+i*stride-1])
			e[5+i] = int(before[at-stride+i])
			e[9+i] = int(right >> (8 * i) & 0xff)
		}
		e[4] = int(before[at-stride-1])
		a := func(i int) int { return e[5+i] }
		l := func(i int) int { return e[3-min(i, 3)] }
		two := func(i int) int { return (e[i] + e[i+1] + 1) / 2 }
		three := func(i int) int { return (e[i] + 2*e[i+1] + e[i+2] + 2) / 4 }
		sum := 4
		for i := range 4 {
			sum += a(i) + l(i)
		}
		modes := []func(x, y int) int{
			func(_, _ int) int { return sum / 8 },
			func(x, y int) int { return max(0, min(l(y)+a(x)-e[4], 255)) },
			func(x, _ int) int { return three(4 + x) },
			func(_, y int) int {
				if y == 3 {
					return (e[1] + 3*e[0] + 2) / 4
				}
				return three(2 - y)
			},
			func(x, y int) int {
				if x+y == 6 {
					return (e[11] + 3*e[12] + 2) / 4
				}
				return three(5 + x + y)
			},
			func(x, y int) int { return three(3 + x - y) },
			func(x, y int) int {
				switch d := 2*x - y; {
				case d == -2, d == -3:
					return three(4 - y)
				case d == -1:
					return three(3)
				case d%2 == 0:
					return two(4 + d/2)
				default:
					return three(4 + (d-1)/2)
				}
			},
			func(x, y int) int {
				switch {
				case x == 3 && y == 2:
					return three(9)
				case x == 3 && y == 3:
					return three(10)
				case y%2 == 0:
					return two(5 + x + y/2)
				}
				return three(5 + x + y/2)
			},
			func(x, y int) int {
				switch d := 2*(3-y) + x; {
				case d > 7:
					return three(d - 4)
				case d%2 == 0:
					return two(d / 2)
				default:
					return three(d / 2)
				}
			},
			func(x, y int) int {
				d := 2*y + x
				if d%2 == 0 {
					return (l(d/2) + l(d/2+1) + 1) / 2
				}
				return (l(d/2) + 2*l(d/2+1) + l(d/2+2) + 2) / 4
			},
		}
		for mode, want := range modes {
			got := bytes.Clone(before)
			vp8.PredictBlock(got, at, stride, uint8(mode), right)
			for y := range 4 {
				for x := range 4 {
					if v := want(x, y); int(got[at+y*stride+x]) != v {
						t.Fatalf("mode %d, (%d, %d) of edge %v: got %d, want %d", mode, x, y, e, got[at+y*stride+x], v)
					}
				}
			}
		}
	}
}

// TestBlocksFarFromTheEndAsNear: the fast way of decoding coefficients and the
// plain one give the same, for random bits and probabilities.
func TestBlocksFarFromTheEndAsNear(t *testing.T) {
	r := rand.New(rand.NewPCG(13, 14))
	blocks := 0
	for range 60 {
		data := make([]byte, 4000)
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		probs := drawProbs(r)
		steps := [2]int32{int32(4 + r.IntN(300)), int32(4 + r.IntN(300))}
		fast, plain := vp8.NewReader(data), vp8.NewReader(data)
		for short := false; !short; blocks++ {
			ctx, first := r.IntN(3), r.IntN(2)
			var got, want [16]int16
			n, m := fast.Block(true, &probs, ctx, first, &steps, &got), plain.Block(false, &probs, ctx, first, &steps, &want)
			state, again := fmt.Sprint(fast.State()), fmt.Sprint(plain.State())
			_, _, _, short = plain.State()
			if n != m || got != want || state != again {
				t.Fatalf("block %d: %d %v %s, want %d %v %s", blocks, n, got, state, m, want, again)
			}
		}
	}
	if blocks < 10_000 {
		t.Errorf("only %d blocks", blocks)
	}
}

// drawProbs draws probabilities of tokens; every other time they are such that
// most coefficients are large.
func drawProbs(r *rand.Rand) (probs vp8.KindProbs) {
	biased := r.IntN(2) == 0
	for i := range probs {
		for c := range 3 {
			for k := range 11 {
				if probs[i][c][k] = byte(1 + r.IntN(255)); biased && k < 3 {
					probs[i][c][k] = byte(1 + r.IntN(40))
				}
			}
		}
	}
	return probs
}

// TestTokenKernel compares with portable Go, up to the end of the data and
// behind it: coefficients, what the blocks beside have, and the reader's state.
func TestTokenKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(15, 16))
	calls, sizes := 0, map[int]int{} // of coefficients, by their lengths in bits
	for range 200 {
		data := make([]byte, r.IntN(6000))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		probs := drawProbs(r)
		steps := [2]int32{int32(1 + r.IntN(300)), int32(1 + r.IntN(300))}
		fast, plain := vp8.NewReader(data), vp8.NewReader(data)
		var above, left vp8.Nonzero
		for short := false; !short; calls++ {
			for i := range above {
				above[i], left[i] = byte(r.IntN(2)), byte(r.IntN(2))
			}
			first, from, to := r.IntN(2), 0, 16
			switch r.IntN(3) {
			case 0:
				first, from, to = 0, 16, 24
			case 1:
				first, from, to = 0, 24, 25
			}
			gotAbove, gotLeft, wantAbove, wantLeft := above, left, above, left
			var got, want vp8.Coefficients
			a := fast.Blocks(true, &probs, &steps, &gotAbove, &gotLeft, &got, first, from, to)
			b := plain.Blocks(false, &probs, &steps, &wantAbove, &wantLeft, &want, first, from, to)
			state, again := fmt.Sprint(fast.State()), fmt.Sprint(plain.State())
			_, _, _, short = plain.State()
			if a != b || got != want || gotAbove != wantAbove || gotLeft != wantLeft || state != again {
				t.Fatalf("call %d, blocks %d to %d: %b %v %s, want %b %v %s", calls, from, to, a, got, state, b, want, again)
			}
			for _, v := range want {
				sizes[bits.Len16(uint16(max(v, -v)))]++
			}
		}
	}
	if calls < 2_000 || sizes[1] == 0 || sizes[15] == 0 {
		t.Errorf("only %d calls, or no small or large coefficients: %v", calls, sizes)
	}
}

// TestSubModesKernel compares with portable Go, up to the end of the data.
func TestSubModesKernel(t *testing.T) {
	r := rand.New(rand.NewPCG(17, 18))
	var modes [10]int
	for range 200 {
		data := make([]byte, r.IntN(3000))
		for i := range data {
			data[i] = byte(r.Uint32())
		}
		fast, plain := vp8.NewReader(data), vp8.NewReader(data)
		for short := false; !short; {
			var above, left [4]uint8
			for i := range above {
				above[i], left[i] = byte(r.IntN(10)), byte(r.IntN(10))
			}
			gotAbove, gotLeft, wantAbove, wantLeft := above, left, above, left
			var got, want [16]uint8
			fast.SubModes(true, &got, &gotAbove, &gotLeft)
			plain.SubModes(false, &want, &wantAbove, &wantLeft)
			state, again := fmt.Sprint(fast.State()), fmt.Sprint(plain.State())
			_, _, _, short = plain.State()
			if got != want || gotAbove != wantAbove || gotLeft != wantLeft || state != again {
				t.Fatalf("above %v, left %v: %v %s, want %v %s", above, left, got, state, want, again)
			}
			for _, mode := range want {
				modes[mode]++
			}
		}
	}
	for mode, n := range modes {
		if n < 100 {
			t.Errorf("mode %d occurred %d times", mode, n)
		}
	}
}
