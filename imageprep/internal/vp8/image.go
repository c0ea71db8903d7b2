package vp8

import "github.com/agiqa/agiqa/imageprep/internal/pool"

// border is how many bytes stand before each row of a plane, and one row before
// the first, for what prediction takes for samples outside the picture. Behind
// a row lie as many, for the last block's right neighbour.
const border = 32

// plane is a whole number of macroblocks with its border.
type plane struct {
	pix           []byte
	stride        int
	width, height int // of the picture
	side          int
}

// bytes of a plane, with its border, and of a row of it.
func planeBytes(mbw, mbh, side int) (all, stride int) {
	stride = side*mbw + 2*border
	return stride * (side*mbh + 1), stride
}

// Memory is what the decode of a picture takes, in bytes.
func Memory(width, height int) int64 {
	mbw, mbh := (width+15)/16, (height+15)/16
	luma, _ := planeBytes(mbw, mbh, 16)
	chroma, _ := planeBytes(mbw, mbh, 8)
	return int64(luma) + 2*int64(chroma) + perMacroblock*int64(mbw)
}

// perMacroblock is what a macroblock's part of a row takes: modes, what its
// neighbours have coded, strengths, and one upsampled row of chroma.
const perMacroblock = 128

func newPlane(p *pool.Pool[byte], width, height, mbw, mbh, side int) plane {
	all, stride := planeBytes(mbw, mbh, side)
	return plane{pix: p.Get(all), stride: stride, width: width, height: height, side: side}
}

// at is where sample (x, y) lies.
func (p *plane) at(x, y int) int { return (y+1)*p.stride + border + x }

// row returns the row's samples, of which the last row repeats.
func (p *plane) row(y int) []byte {
	y = max(0, min(y, p.height-1))
	return p.pix[p.at(0, y):][:p.width]
}

// Image is a decoded frame. It is not for use by several goroutines at once.
type Image struct {
	Width, Height int
	pool          *pool.Pool[byte]
	luma, cb, cr  plane
	scratch       []byte // one upsampled row for each of two planes
}

// Release gives the memory of the planes back. The image must not be used any
// more.
func (img *Image) Release() {
	for _, b := range []*[]byte{&img.luma.pix, &img.cb.pix, &img.cr.pix, &img.scratch} {
		img.pool.Put(*b)
		*b = nil
	}
}

// Row writes row y as RGB, 3*Width bytes.
func (img *Image) Row(y int, dst []byte) {
	near := y / 2
	far := near - 1 + 2*(y&1)
	n := len(img.scratch) / 2
	cb, cr := img.scratch[:n], img.scratch[n:]
	upsample(img.cb.row(near), img.cb.row(far), cb)
	upsample(img.cr.row(near), img.cr.row(far), cr)
	toRGB(dst[:3*img.Width], img.luma.row(y), cb[:img.Width], cr[:img.Width])
}

// upsample doubles a row of chroma by weights of 9, 3, 3 and 1, from the row
// that is nearest and the one that is next, with libwebp's rounding.
func upsample(near, far, out []byte) {
	last := len(near) - 1
	out[0] = byte((3*uint(near[0]) + uint(far[0]) + 2) >> 2)
	out[2*last+1] = byte((3*uint(near[last]) + uint(far[last]) + 2) >> 2)
	if !upsampleFast(near, far, out) {
		upsamplePortable(near, far, out)
	}
}

// upsamplePortable computes what lies between the ends.
func upsamplePortable(near, far, out []byte) {
	far = far[:len(near)]
	a, b := uint(near[0]), uint(far[0])
	for i := 1; i < len(near); i++ {
		c, d := uint(near[i]), uint(far[i])
		sum := a + b + c + d + 8
		o := out[2*i-1 : 2*i+1 : 2*i+1]
		o[0] = byte(((sum+2*(b+c))>>3 + a) >> 1)
		o[1] = byte(((sum+2*(a+d))>>3 + c) >> 1)
		a, b = c, d
	}
}

func toRGB(dst, y, cb, cr []byte) {
	if !rgbFast(dst, y, cb, cr) {
		rgbPortable(dst, y, cb, cr)
	}
}

// rgbPortable is libwebp's conversion of studio-range YCbCr, in 14 bits of
// fraction that are cut off in two steps.
func rgbPortable(dst, y, cb, cr []byte) {
	cb, cr = cb[:len(y)], cr[:len(y)]
	for i, v := range y {
		l, u, w := int32(v)*19077>>8, int32(cb[i]), int32(cr[i])
		o := dst[3*i : 3*i+3 : 3*i+3]
		o[0] = clip((l + w*26149>>8 - 14234) >> 6)
		o[1] = clip((l - u*6419>>8 - w*13320>>8 + 8708) >> 6)
		o[2] = clip((l + u*33050>>8 - 17685) >> 6)
	}
}
