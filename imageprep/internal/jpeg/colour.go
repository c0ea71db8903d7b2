package jpeg

// Fixed-point factors of jdcolor.c, 16 bits.
const (
	crToR = 91881  // 1.40200
	cbToB = 116130 // 1.77200
	crToG = 46802  // 0.71414
	cbToG = 22554  // 0.34414
	half  = 1 << 15
)

// yccPixel converts one pixel of JFIF's full-range YCbCr.
func yccPixel(y, cb, cr byte) (r, g, b byte) {
	l, u, v := int32(y), int32(cb)-128, int32(cr)-128
	r = clamp(l + (crToR*v+half)>>16)
	g = clamp(l + (-cbToG*u-crToG*v+half)>>16)
	b = clamp(l + (cbToB*u+half)>>16)
	return r, g, b
}

func yccToRGB(dst []byte, p *[4][]byte, w int) {
	ys, cb, cr := p[0][:w], p[1][:w], p[2][:w]
	dst = dst[:3*w]
	done := yccChunks(dst, ys, cb, cr)
	yccPortable(dst[3*done:], ys[done:], cb[done:], cr[done:])
}

func yccPortable(dst, ys, cb, cr []byte) {
	cb, cr = cb[:len(ys)], cr[:len(ys)]
	for i, y := range ys {
		o := dst[3*i : 3*i+3 : 3*i+3]
		o[0], o[1], o[2] = yccPixel(y, cb[i], cr[i])
	}
}

func planesToRGB(dst []byte, p *[4][]byte, w int) {
	for i := range w {
		dst[3*i], dst[3*i+1], dst[3*i+2] = p[0][i], p[1][i], p[2][i]
	}
}

func grayToRGB(dst []byte, p *[4][]byte, w int) {
	for i, v := range p[0][:w] {
		dst[3*i], dst[3*i+1], dst[3*i+2] = v, v, v
	}
}

// invertedCMYKToRGB takes samples in which 255 is no ink.
func invertedCMYKToRGB(dst []byte, p *[4][]byte, w int) {
	for i := range w {
		k := p[3][i]
		dst[3*i], dst[3*i+1], dst[3*i+2] = ink(p[0][i], k), ink(p[1][i], k), ink(p[2][i], k)
	}
}

// invertedYCCKToRGB undoes the YCC part first: 255 minus its RGB is CMY, which
// is then taken to be inverted like any other.
func invertedYCCKToRGB(dst []byte, p *[4][]byte, w int) {
	for i := range w {
		r, g, b := yccPixel(p[0][i], p[1][i], p[2][i])
		k := p[3][i]
		dst[3*i], dst[3*i+1], dst[3*i+2] = ink(255-r, k), ink(255-g, k), ink(255-b, k)
	}
}

// ink is Pillow's CMYK to RGB for one inverted colour sample c and black k:
// k - (255-c)*k/255, the division rounded as Pillow rounds it.
func ink(c, k byte) byte {
	t := uint32(255-c)*uint32(k) + 128
	return clamp(int32(k) - int32((t>>8+t)>>8))
}
