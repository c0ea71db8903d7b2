package imageprep_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/agiqa/agiqa/imageprep"
)

// noise fills a picture with samples of which many are extreme, so that the
// filter's overshoot is clipped often.
func noise(seed uint64, w, h int) []byte {
	r := rand.New(rand.NewPCG(seed, uint64(w)<<32|uint64(h)))
	pix := make([]byte, 3*w*h)
	for i := range pix {
		switch r.IntN(3) {
		case 0:
			pix[i] = 255
		case 1:
			pix[i] = byte(r.Uint32())
		}
	}
	return pix
}

var resizers = imageprep.Resizers()

var vectorised = []string{"avx512-vnni", "avx2"}

// eachResizer runs a test for every implementation that there is.
func eachResizer(t *testing.T, test func(*testing.T, *imageprep.Resizer)) {
	t.Helper()
	eachOf(t, append(vectorised[:2:2], "portable"), test)
}

func eachOf(t *testing.T, names []string, test func(*testing.T, *imageprep.Resizer)) {
	t.Helper()
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			for _, r := range resizers {
				if r.Name == name {
					test(t, r)
					return
				}
			}
			t.Skipf("this processor cannot run %s", name)
		})
	}
}

// reference is the implementation that every processor has.
func reference(t *testing.T) *imageprep.Resizer {
	t.Helper()
	r := resizers[len(resizers)-1]
	if r.Name != "portable" {
		t.Fatalf("the last implementation is %s, want the portable one", r.Name)
	}
	return r
}

// TestEveryImplementationIsThePortableOne covers the smallest sides, both sides of the target and every
// residue of groups and blocks, then sizes at random. That the reference is
// right is shown by Pillow's pixels.
func TestEveryImplementationIsThePortableOne(t *testing.T) {
	portable := reference(t)
	sizes := [][2]int{
		{1, 1}, {1, 2}, {2, 1}, {2, 3}, {3, 2}, {4, 5}, {1, 400}, {400, 1}, {223, 224}, {224, 223},
		{224, 224}, {225, 224}, {224, 225},
		{226, 226}, {227, 231}, {256, 256}, {301, 299}, {512, 384}, {997, 31}, {31, 997}, {1024, 1024}, {1536, 640},
		{5000, 300}, {300, 5000}, {1300, 1303},
	}
	var pictures, want [][]byte
	for i, size := range sizes {
		pictures = append(pictures, noise(1, size[0], size[1]))
		want = append(want, portable.Resize(pictures[i], size[0], size[1]))
	}
	eachOf(t, vectorised, func(t *testing.T, r *imageprep.Resizer) {
		for i, size := range sizes {
			if got := r.Resize(pictures[i], size[0], size[1]); !bytes.Equal(got, want[i]) {
				t.Errorf("%v differs from portable: %s", size, difference(got, want[i]))
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			w, h := rapid.IntRange(1, 400).Draw(t, "width"), rapid.IntRange(1, 400).Draw(t, "height")
			pix := noise(rapid.Uint64().Draw(t, "seed"), w, h)
			if got, want := r.Resize(pix, w, h), portable.Resize(pix, w, h); !bytes.Equal(got, want) {
				t.Fatalf("%d x %d differs from portable: %s", w, h, difference(got, want))
			}
		})
	})
}

// FuzzResample takes the picture's content too, repeated to its size.
func FuzzResample(f *testing.F) {
	f.Add(uint16(3), uint16(5), []byte{0, 255, 1})
	f.Add(uint16(300), uint16(200), []byte{255, 255, 255, 0, 0})
	f.Add(uint16(1), uint16(900), []byte{7})
	f.Fuzz(func(t *testing.T, w, h uint16, content []byte) {
		if w == 0 || h == 0 || int(w)*int(h) > 1<<16 || len(content) == 0 {
			t.Skip("not a picture, or one that takes too long")
		}
		pix := make([]byte, 3*int(w)*int(h))
		for n := copy(pix, content); n < len(pix); {
			n += copy(pix[n:], pix[:n])
		}
		want := reference(t).Resize(pix, int(w), int(h))
		for _, r := range resizers {
			if got := r.Resize(pix, int(w), int(h)); !bytes.Equal(got, want) {
				t.Fatalf("%d x %d: %s differs from portable: %s", w, h, r.Name, difference(got, want))
			}
		}
	})
}

const (
	threeDigits = 1 + 1<<8 + 1<<16
	most, least = 127 * threeDigits, -128 * threeDigits // what three signed digits of 8 bits hold
)

// edges are weights at which digits carry, and the extremes.
var edges = []int32{
	0, 1, -1, 0x7F, 0x80, 0x81, 0xFF, 0x100, -0x7F, -0x80, -0x81, -0xFF, -0x100,
	0x7F7F, 0x7F80, 0x7FFF, 0x8000, 0x807F, 0x8080, 0xFF7F, 0xFF80, 0xFFFF, -0x7F80, -0x8000, -0x8080, -0x8081, -0xFF80,
	0x7EFFFF, 0x7F7F00, 0x400000, -0x400000, most, most - 1, least, least + 1,
}

// anyWeights returns weights for 224 positions: at most taps, of edges or any
// three digits, over a span that grows by at most step samples a position.
func anyWeights(r *rand.Rand, taps, step int) (w imageprep.Weights, span int) {
	at := 0
	for i := range w.Start {
		w.Start[i] = at
		n := max(1+r.IntN(taps), span-at) // ends never go back
		for range n {
			k := edges[r.IntN(len(edges))]
			if r.IntN(2) == 0 {
				k = least + int32(r.IntN(most-least+1))
			}
			w.Weight[i] = append(w.Weight[i], k)
		}
		span = at + n
		at = min(at+r.IntN(step+1), span-1)
	}
	return w, span
}

// same gives each of 224 samples back.
func same() imageprep.Weights { return imageprep.PillowWeights(224, 224, 0) }

func plain(n int) []byte { return make([]byte, n) }

// TestAnyWeights: the passes are exact whatever the weights, in memory that
// ends where what they may touch ends, or begins where it begins.
func TestAnyWeights(t *testing.T) {
	eachResizer(t, func(t *testing.T, r *imageprep.Resizer) {
		rng := rand.New(rand.NewPCG(3, 4))
		for k := range 16 {
			across, down, samples, rows := same(), same(), 224, 224
			if k%2 == 0 {
				across, samples = anyWeights(rng, 1+rng.IntN(40), rng.IntN(9))
			} else {
				down, rows = anyWeights(rng, 1+rng.IntN(40), rng.IntN(9))
			}
			content := noise(uint64(k), samples, (rows+3)/4*4)
			lines := func(alloc func(int) []byte) (list [][]byte) {
				for len(content[len(list)*3*samples:]) > 0 {
					line := alloc(3*samples + imageprep.LineSlack)
					copy(line, content[len(list)*3*samples:])
					list = append(list, line)
				}
				return list
			}
			want := reference(t).Weigh(across, down, lines(plain), plain)
			withGuards(t, func(alloc func(int) []byte) {
				if got := r.Weigh(across, down, lines(alloc), alloc); !bytes.Equal(got, want) {
					t.Errorf("%d samples, %d rows: %s", samples, rows, difference(got, want))
				}
			})
		}
	})
}

// TestNothingIsReadBeyondTheImage: the image is all that there is.
func TestNothingIsReadBeyondTheImage(t *testing.T) {
	eachResizer(t, func(t *testing.T, r *imageprep.Resizer) {
		for _, size := range [][2]int{{1, 1}, {2, 1}, {1, 2}, {3, 3}, {5, 7}, {6, 5}, {7, 9}, {223, 3}, {224, 224},
			{225, 230}, {241, 517}, {999, 40}, {40, 999}, {1023, 700}} {
			content := noise(2, size[0], size[1])
			want := reference(t).Resize(content, size[0], size[1])
			withGuards(t, func(alloc func(int) []byte) {
				pix := alloc(len(content))
				copy(pix, content)
				if got := r.Resize(pix, size[0], size[1]); !bytes.Equal(got, want) {
					t.Errorf("%v: %s", size, difference(got, want))
				}
			})
		}
	})
}

// TestWeightsFitThreeDigits: with room, for every side of an image and every
// crop, which is what the vectorised passes take for granted.
func TestWeightsFitThreeDigits(t *testing.T) {
	const one = 1 << imageprep.PrecisionBits
	check := func(w, h int) {
		outW, outH := imageprep.Resized(w, h, 224)
		for _, axis := range []imageprep.Weights{
			imageprep.PillowWeights(w, outW, imageprep.CropOffset(outW, 224)),
			imageprep.PillowWeights(h, outH, imageprep.CropOffset(outH, 224)),
		} {
			for i, weights := range axis.Weight {
				if lowest, highest := slices.Min(weights), slices.Max(weights); lowest < -one/4 || highest > one+one/4 {
					t.Fatalf("%d x %d, position %d: weights from %d to %d", w, h, i, lowest, highest)
				}
			}
		}
	}
	for side := 1; side < 1000; side++ {
		check(side, side)
		check(side, side+side/2)
	}
	for _, side := range []int{1, 2, 3, 5, 100, 1000, 5000, 40_000} {
		for _, other := range []int{1, 2, 3, 4, 7, 223, 224, 225, 5000} {
			check(side, other)
		}
	}
}

// TestWeightsBeyondThreeDigitsAreRefused: they would be wrong.
func TestWeightsBeyondThreeDigitsAreRefused(t *testing.T) {
	eachOf(t, vectorised[:1], func(t *testing.T, r *imageprep.Resizer) {
		for k, refused := range map[int32]bool{most: false, most + 1: true, least: false, least - 1: true} {
			func() {
				defer func() {
					if v := recover(); (v != nil) != refused {
						t.Errorf("weight %d: %v, want refused: %v", k, v, refused)
					}
				}()
				w := same()
				w.Weight[7] = []int32{k}
				r.Weigh(w, same(), nil, plain)
			}()
		}
	})
}

func BenchmarkResize(b *testing.B) {
	for _, side := range []int{512, 1024, 2048} {
		pix := noise(1, side, side)
		for _, passes := range resizers {
			b.Run(fmt.Sprintf("%s-%d", passes.Name, side), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					passes.Resize(pix, side, side)
				}
			})
		}
	}
}
