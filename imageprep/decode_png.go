package imageprep

import (
	"context"
	"fmt"
	"image"
	"image/png"
)

func decodePNG(ctx context.Context, data []byte, h Header) (raster, error) {
	img, err := png.Decode(&contextReader{ctx: ctx, data: data})
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
