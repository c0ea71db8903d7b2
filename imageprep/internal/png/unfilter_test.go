package png_test

import (
	"testing"

	"github.com/agiqa/agiqa/imageprep/internal/png"
)

// predictor is the format's own definition, PNG 9.4.
func predictor(a, b, c int) int {
	distance := func(v int) int { return max(a+b-c-v, v-a-b+c) }
	switch {
	case distance(a) <= distance(b) && distance(a) <= distance(c):
		return a
	case distance(b) <= distance(c):
		return b
	}
	return c
}

// TestPaeth: every pixel to the left, above and above left, as this processor
// undoes the filter for RGB, RGBA and others.
func TestPaeth(t *testing.T) {
	for _, bpp := range []int{1, 3, 4} {
		row, above := make([]byte, 4*bpp), make([]byte, 4*bpp)
		for a := range 256 {
			for b := range 256 {
				for c := 0; c < 256; c += bpp {
					// The first pixel comes out as a. The second is what is predicted, plus 7.
					clear(row)
					for i := range bpp {
						row[i], above[i] = byte(a-c-i), byte(c+i)
						row[bpp+i], above[bpp+i] = 7, byte(b)
					}
					png.Unfilter(4, row, above, bpp)
					for i := range bpp {
						want := byte(predictor(a, b, (c+i)&255) + 7)
						if row[i] != byte(a) || row[bpp+i] != want {
							t.Fatalf("%d bytes a pixel, a %d, b %d, c %d: got %d after %d, want %d", bpp, a, b, (c+i)&255,
								row[bpp+i], row[i], want)
						}
					}
				}
			}
		}
	}
}
