package jpeg

import "github.com/agiqa/agiqa/imageprep/internal/pool"

// Image is a decoded file: its planes, and how to make RGB of them. It is not
// for use by several goroutines at once.
type Image struct {
	Width, Height int
	pool          *pool.Pool[byte]
	comps         []*component
	upsamplers    []upsampler
	scratch       [4][]byte // one upsampled row a component
	planes        [4][]byte // the rows that Row converts
	convert       func(dst []byte, planes *[4][]byte, width int)
}

// prepare chooses the upsampling of each plane and the colour conversion. h and
// v are the size of an MCU in the image.
func (img *Image) prepare(h, v int, triangles, jfif bool, adobe int) {
	for i, c := range img.comps {
		img.upsamplers = append(img.upsamplers, chooseUpsampler(c, h, v, triangles))
		img.scratch[i] = img.pool.Get((c.width + 1) * (h / (c.h * c.size)))
	}
	img.convert = img.colour(jfif, adobe)
}

// Release gives the memory of the planes back. The image must not be used any
// more.
func (img *Image) Release() {
	for i, c := range img.comps {
		img.pool.Put(c.pix)
		img.pool.Put(img.scratch[i])
		c.pix, img.scratch[i] = nil, nil
	}
}

// Row writes row y as RGB, 3*Width bytes.
func (img *Image) Row(y int, dst []byte) {
	for i, c := range img.comps {
		img.planes[i] = img.upsamplers[i](c, y, img.scratch[i])
	}
	img.convert(dst, &img.planes, img.Width)
}

// colour guesses what the components mean, as libjpeg's jdapimin.c does.
func (img *Image) colour(jfif bool, adobe int) func([]byte, *[4][]byte, int) {
	switch len(img.comps) {
	case 1:
		return grayToRGB
	case 4:
		// Pillow takes every four-component JPEG to be inverted, as Adobe's are.
		if adobe <= 0 {
			return invertedCMYKToRGB
		}
		return invertedYCCKToRGB
	}
	ids := [3]byte{img.comps[0].id, img.comps[1].id, img.comps[2].id}
	if !jfif && (adobe == 0 || adobe < 0 && ids == [3]byte{'R', 'G', 'B'}) {
		return planesToRGB
	}
	return yccToRGB
}
