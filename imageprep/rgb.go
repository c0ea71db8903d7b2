package imageprep

import (
	"image/color"

	"github.com/agiqa/agiqa/imageprep/internal/jpeg"
)

// raster gives the rows of a decoded image as Pillow's convert("RGB") does.
type raster interface {
	size() (width, height int)
	// row writes 3*width bytes of RGB.
	row(y int, dst []byte)
}

// inMemory is a raster of which rows may lie in memory as row writes them.
type inMemory interface {
	// at returns row y and what lies behind it, to be read only, or nil.
	at(y int) []byte
}

// release gives the memory of an image back. Nothing may use the image then.
func release(r raster) {
	if r, ok := r.(interface{ release() }); ok {
		r.release()
	}
}

// jpegRaster converts as libjpeg-turbo does.
type jpegRaster struct{ img *jpeg.Image }

func (r jpegRaster) size() (int, int)      { return r.img.Width, r.img.Height }
func (r jpegRaster) row(y int, dst []byte) { r.img.Row(y, dst) }
func (r jpegRaster) release()              { r.img.Release() }

// grayRaster replicates one byte.
type grayRaster struct {
	pix                   []byte
	stride, width, height int
	step                  int  // bytes a sample
	clip                  bool // 16 bits: everything over 255 is 255, as in Pillow's mode I;16
}

func (r grayRaster) size() (int, int) { return r.width, r.height }

func (r grayRaster) row(y int, dst []byte) {
	src := r.pix[y*r.stride:]
	for x := range r.width {
		v := src[x*r.step]
		if r.clip {
			if v == 0 {
				v = src[x*r.step+1]
			} else {
				v = 255
			}
		}
		dst[3*x], dst[3*x+1], dst[3*x+2] = v, v, v
	}
}

// rgbRaster takes the first three samples of each pixel and drops the fourth,
// and of 16-bit samples the high byte.
type rgbRaster struct {
	pix                   []byte
	stride, width, height int
	wide                  bool // 16 bits a sample
}

func (r rgbRaster) size() (int, int) { return r.width, r.height }

func (r rgbRaster) row(y int, dst []byte) {
	src := r.pix[y*r.stride:]
	if r.wide {
		for x := range r.width {
			dst[3*x], dst[3*x+1], dst[3*x+2] = src[8*x], src[8*x+2], src[8*x+4]
		}
		return
	}
	src = src[:4*r.width]
	for x := 0; len(src) >= 4; x += 3 {
		d := dst[x : x+3 : x+3]
		d[0], d[1], d[2] = src[0], src[1], src[2]
		src = src[4:]
	}
}

// palette holds RGB for every index.
type palette [256][3]byte

// paletteRaster looks indices up.
type paletteRaster struct {
	pix                   []byte
	stride, width, height int
	colours               *palette
}

func (r paletteRaster) size() (int, int) { return r.width, r.height }

func (r paletteRaster) row(y int, dst []byte) { r.colours.row(r.pix[y*r.stride:][:r.width], dst) }

// row looks up a row of indices.
func (p *palette) row(indices, dst []byte) {
	for x, v := range indices {
		d, c := dst[3*x:3*x+3:3*x+3], &p[v]
		d[0], d[1], d[2] = c[0], c[1], c[2]
	}
}

// paletteOf takes the colours as stored, alpha left aside. Indices beyond the
// palette are black.
func paletteOf(from color.Palette) *palette {
	p := new(palette)
	for i, c := range from[:min(len(from), 256)] {
		switch c := c.(type) {
		case color.RGBA:
			p[i] = [3]byte{c.R, c.G, c.B}
		case color.NRGBA:
			p[i] = [3]byte{c.R, c.G, c.B}
		}
	}
	return p
}

// canvas puts a raster on a larger canvas of one colour.
type canvas struct {
	raster
	x, y          int
	width, height int
	colour        [3]byte
}

func (c canvas) size() (int, int) { return c.width, c.height }
func (c canvas) release()         { release(c.raster) }

func (c canvas) row(y int, dst []byte) {
	for x := range c.width {
		copy(dst[3*x:3*x+3], c.colour[:])
	}
	w, h := c.raster.size()
	if y >= c.y && y < c.y+h {
		c.raster.row(y-c.y, dst[3*c.x:][:3*w])
	}
}
