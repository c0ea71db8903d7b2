package imageprep

import (
	"context"
	"fmt"
	"image"
	stdpng "image/png"

	"github.com/agiqa/agiqa/imageprep/internal/png"
)

// pngDecoder tries the quick decoder first. Whatever it rejects goes to
// image/png, without the errors after the last pixel.
func pngDecoder(b *buffers) decodeFunc {
	quick := png.NewDecoder(b.samples)
	return func(ctx context.Context, data []byte, h Header, _ int) (raster, error) {
		if img := quick.Decode(data, func() bool { return ctx.Err() == nil }); img != nil {
			return plainPNG(img), nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		return decodeAnyPNG(ctx, data, h)
	}
}

func decodeAnyPNG(ctx context.Context, data []byte, h Header) (raster, error) {
	img, err := stdpng.Decode(newPNGStream(ctx, data, h))
	if err != nil {
		switch {
		case isContext(err):
			return nil, err
		case !h.layout.(pngLayout).complete:
			return nil, truncated(PNG).Because(err)
		}
		return nil, corrupt(PNG).Because(err)
	}
	return pngRaster(img, h)
}

// pngRaster covers every type that image/png returns.
func pngRaster(img image.Image, h Header) (raster, error) {
	w, ht := img.Bounds().Dx(), img.Bounds().Dy()
	clip := h.Channels == 1 && h.Bits == 16
	switch img := img.(type) {
	case *image.Gray:
		return grayRaster{pix: img.Pix, stride: img.Stride, width: w, height: ht, step: 1}, nil
	case *image.Gray16:
		return grayRaster{pix: img.Pix, stride: img.Stride, width: w, height: ht, step: 2, clip: clip}, nil
	case *image.RGBA:
		return rgbRaster{pix: img.Pix, stride: img.Stride, width: w, height: ht}, nil
	case *image.NRGBA:
		return rgbRaster{pix: img.Pix, stride: img.Stride, width: w, height: ht}, nil
	case *image.RGBA64:
		return rgbRaster{pix: img.Pix, stride: img.Stride, width: w, height: ht, wide: true}, nil
	case *image.NRGBA64:
		if clip { // gray with a transparent level
			return grayRaster{pix: img.Pix, stride: img.Stride, width: w, height: ht, step: 8, clip: true}, nil
		}
		return rgbRaster{pix: img.Pix, stride: img.Stride, width: w, height: ht, wide: true}, nil
	case *image.Paletted:
		return paletteRaster{pix: img.Pix, stride: img.Stride, width: w, height: ht, colours: paletteOf(img.Palette)}, nil
	}
	return nil, corrupt(PNG).Because(fmt.Errorf("image/png returned a %T", img))
}

// plainPNG gives the rows of what the quick decoder made.
func plainPNG(img *png.Image) raster {
	r := pngRows{img: img}
	if img.Palette != nil {
		r.colours = new(palette)
		for i := range len(img.Palette) / 3 {
			copy(r.colours[i][:], img.Palette[3*i:])
		}
	}
	return r
}

// pngRows are samples of 8 bits, alpha left aside.
type pngRows struct {
	img     *png.Image
	colours *palette
}

func (r pngRows) size() (int, int) { return r.img.Width, r.img.Height }
func (r pngRows) release()         { r.img.Release() }

func (r pngRows) row(y int, dst []byte) {
	src := r.img.Row(y)
	switch {
	case r.colours != nil:
		paletteRaster{pix: src, width: len(src), colours: r.colours}.row(0, dst)
	case r.img.Channels == 3:
		copy(dst, src)
	case r.img.Channels == 4:
		rgbRaster{pix: src, width: r.img.Width}.row(0, dst)
	default:
		grayRaster{pix: src, width: r.img.Width, step: r.img.Channels}.row(0, dst)
	}
}
