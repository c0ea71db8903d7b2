// Package pictures draws deterministic pictures for tests, benchmarks and
// canaries: the same arguments give the same pixels. It opens no
// files and knows nothing of how pictures are scored.
package pictures

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"math/rand/v2"
)

// Gradient returns a gradient with a checkered disc on it, w x h pixels. The
// same size gives the same pixels, and a different seed a different picture.
func Gradient(w, h int, seed uint32) *image.RGBA {
	img := image.NewRGBA(image.Rect(0, 0, w, h))
	r := min(w, h) / 3
	for y := range h {
		for x := range w {
			c := color.RGBA{uint8(255 * x / w), uint8(255 * y / h), uint8(seed * 37), 255}
			dx, dy := x-w/2, y-h/2
			if dx*dx+dy*dy < r*r && (x/4+y/4+int(seed))%2 == 0 {
				c = color.RGBA{uint8(seed*91 + 200), uint8(seed * 53), 240, 255}
			}
			img.SetRGBA(x, y, c)
		}
	}
	return img
}

// Noise returns side x side random grey pixels, which no cache has seen.
func Noise(side int, random *rand.Rand) *image.Gray {
	img := image.NewGray(image.Rect(0, 0, side, side))
	for i := range img.Pix {
		img.Pix[i] = byte(random.Uint32())
	}
	return img
}

// PNG encodes a picture.
func PNG(img image.Image) ([]byte, error) {
	var b bytes.Buffer
	err := png.Encode(&b, img)
	return b.Bytes(), err
}
