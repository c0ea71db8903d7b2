package imageprep

import (
	"image"
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

// webpRaster is a lossy WebP's 4:2:0 planes.
type webpRaster struct {
	img    *image.YCbCr
	cb, cr []byte // one upsampled row
}

func newWebPRaster(img *image.YCbCr) *webpRaster {
	n := 2*((img.Rect.Dx()+1)/2) + 1
	return &webpRaster{img: img, cb: make([]byte, n), cr: make([]byte, n)}
}

func (r *webpRaster) size() (int, int) { return r.img.Rect.Dx(), r.img.Rect.Dy() }

// row upsamples as libwebp's default ("fancy") upsampler does.
func (r *webpRaster) row(y int, dst []byte) {
	w, h := r.size()
	near := y / 2
	far := near - 1 + 2*(y%2)
	far = max(0, min(far, (h+1)/2-1))
	n := (w + 1) / 2
	at := func(plane []byte, row int) []byte { return plane[row*r.img.CStride:][:n] }
	webpUpsample(at(r.img.Cb, near), at(r.img.Cb, far), r.cb)
	webpUpsample(at(r.img.Cr, near), at(r.img.Cr, far), r.cr)
	cb, cr := r.cb[:w], r.cr[:w]
	for x, l := range r.img.Y[y*r.img.YStride:][:w] {
		d := dst[3*x : 3*x+3 : 3*x+3]
		d[0], d[1], d[2] = webpPixel(l, cb[x], cr[x])
	}
}

// webpUpsample doubles a row of chroma by the 9:3:3:1 filter with libwebp's
// rounding, from the row that is nearest and the one that is next.
func webpUpsample(near, far, out []byte) {
	out[0] = byte((3*uint(near[0]) + uint(far[0]) + 2) >> 2)
	last := len(near) - 1
	a, b := uint(near[0]), uint(far[0])
	for i := 1; i <= last; i++ {
		c, d := uint(near[i]), uint(far[i])
		sum := a + b + c + d + 8
		out[2*i-1] = byte(((sum+2*(c+b))>>3 + a) >> 1)
		out[2*i] = byte(((sum+2*(a+d))>>3 + c) >> 1)
		a, b = c, d
	}
	out[2*last+1] = byte((3*a + b + 2) >> 2)
}

// webpPixel is libwebp's conversion of studio-range YCbCr, 14 bits of fraction
// in two steps.
func webpPixel(y, cb, cr byte) (r, g, b byte) {
	high := func(v byte, factor int32) int32 { return int32(v) * factor >> 8 }
	l := high(y, 19077)
	r = webpClip(l + high(cr, 26149) - 14234)
	g = webpClip(l - high(cb, 6419) - high(cr, 13320) + 8708)
	b = webpClip(l + high(cb, 33050) - 17685)
	return r, g, b
}

func webpClip(v int32) byte {
	v >>= 6
	if uint32(v) <= 255 {
		return byte(v)
	}
	if v < 0 {
		return 0
	}
	return 255
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
