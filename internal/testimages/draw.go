package testimages

import (
	"bytes"
	"image"
	"image/color"
	"image/gif"
	"image/jpeg"
	"image/png"

	"github.com/agiqa/agiqa/internal/pictures"
)

// PNG returns an 8-bit RGB PNG of w x h pixels.
func PNG(w, h int) []byte { return PNGOf(pictures.Gradient(w, h, 1)) }

// PNGOf encodes any picture.
func PNGOf(img image.Image) []byte {
	var b bytes.Buffer
	must(png.Encode(&b, img))
	return b.Bytes()
}

// JPEG returns a baseline 4:2:0 JPEG of w x h pixels, quality 85.
func JPEG(w, h int) []byte { return JPEGOf(pictures.Gradient(w, h, 1)) }

// JPEGOf encodes any picture as JPEG, quality 85.
func JPEGOf(img image.Image) []byte {
	var b bytes.Buffer
	must(jpeg.Encode(&b, img, &jpeg.Options{Quality: 85}))
	return b.Bytes()
}

// GIF returns a GIF of one frame, w x h pixels.
func GIF(w, h int) []byte { return AnimatedGIF(w, h, 1) }

// AnimatedGIF returns a GIF of n different frames, w x h pixels each.
func AnimatedGIF(w, h, n int) []byte {
	g := &gif.GIF{}
	for i := range n {
		g.Image = append(g.Image, paletted(pictures.Gradient(w, h, uint32(i+1))))
		g.Delay = append(g.Delay, 4)
	}
	var b bytes.Buffer
	must(gif.EncodeAll(&b, g))
	return b.Bytes()
}

// WebP returns a lossy WebP of 61x45 pixels.
func WebP() []byte { return Golden("webp-lossy-61x45.webp") }

// WebPLossless returns a lossless WebP of 61x45 pixels.
func WebPLossless() []byte { return Golden("webp-lossless.webp") }

// AnimatedWebP returns a WebP of two frames, 61x45 pixels.
func AnimatedWebP() []byte { return Golden("webp-animated.webp") }

// paletted quantises to 64 evenly spread colours, so that no dithering table
// of the standard library can change a test's image.
func paletted(img *image.RGBA) *image.Paletted {
	var pal color.Palette
	for i := range 64 {
		pal = append(pal, color.RGBA{uint8(i >> 4 * 85), uint8(i >> 2 & 3 * 85), uint8(i & 3 * 85), 255})
	}
	out := image.NewPaletted(img.Rect, pal)
	for i := range out.Pix {
		p := img.Pix[4*i:]
		out.Pix[i] = p[0]>>6<<4 | p[1]>>6<<2 | p[2]>>6
	}
	return out
}

// must stops a test whose own image could not be written to memory.
func must(err error) {
	if err != nil {
		panic(err)
	}
}
