package imageprep_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
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

func checkPasses(t interface{ Fatalf(string, ...any) }, pix []byte, w, h int) {
	want := imageprep.ResizePortable(pix, w, h)
	if got := imageprep.ResizeVectorised(pix, w, h); !bytes.Equal(got, want) {
		t.Fatalf("%d x %d: vectorised differs from portable: %s", w, h, difference(got, want))
	}
}

// TestVectorisedEqualsPortable covers the smallest sides, both sides of the
// target and every residue of groups and pairs, then sizes at random.
func TestVectorisedEqualsPortable(t *testing.T) {
	if !imageprep.HasVectorised {
		t.Log("this processor has no vectorised passes: the portable ones are compared with themselves")
	}
	for _, size := range [][2]int{
		{1, 1}, {1, 2}, {2, 1}, {2, 3}, {1, 400}, {400, 1}, {223, 224}, {224, 223}, {224, 224}, {225, 224}, {224, 225},
		{226, 226}, {227, 231}, {256, 256}, {301, 299}, {512, 384}, {997, 31}, {31, 997}, {1024, 1024}, {1536, 640}, {5000, 300}, {300, 5000},
	} {
		checkPasses(t, noise(1, size[0], size[1]), size[0], size[1])
	}
	rapid.Check(t, func(t *rapid.T) {
		w, h := rapid.IntRange(1, 700).Draw(t, "width"), rapid.IntRange(1, 700).Draw(t, "height")
		checkPasses(t, noise(rapid.Uint64().Draw(t, "seed"), w, h), w, h)
	})
}

// FuzzResample takes the picture's content too, repeated to its size.
func FuzzResample(f *testing.F) {
	f.Add(uint16(3), uint16(5), []byte{0, 255, 1})
	f.Add(uint16(300), uint16(200), []byte{255, 255, 255, 0, 0})
	f.Add(uint16(1), uint16(900), []byte{7})
	f.Fuzz(func(t *testing.T, w, h uint16, content []byte) {
		if w == 0 || h == 0 || w > 2000 || h > 2000 || len(content) == 0 {
			t.Skip("not a picture, or one that takes too long")
		}
		pix := make([]byte, 3*int(w)*int(h))
		for n := copy(pix, content); n < len(pix); {
			n += copy(pix[n:], pix[:n])
		}
		checkPasses(t, pix, int(w), int(h))
	})
}

func BenchmarkResize(b *testing.B) {
	for _, side := range []int{512, 1024, 2048} {
		pix := noise(1, side, side)
		for name, passes := range map[string]*imageprep.Resizer{"portable": imageprep.NewPortable(), "vectorised": imageprep.NewVectorised()} {
			b.Run(fmt.Sprintf("%s-%d", name, side), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					passes.Resize(pix, side, side)
				}
			})
		}
	}
}
