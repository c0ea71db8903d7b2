package imageprep

import (
	"bufio"
	"context"
	"fmt"
	"image"

	"golang.org/x/image/vp8"
	"golang.org/x/image/vp8l"
)

func decodeWebP(ctx context.Context, data []byte, h Header, _ int) (raster, error) {
	l := h.layout.(webpLayout)
	r, err := decodeWebPFrame(ctx, l)
	if err != nil {
		if isContext(err) {
			return nil, err
		}
		return nil, corrupt(WebP).Because(err)
	}
	if l.width == h.Width && l.height == h.Height {
		return r, nil
	}
	return canvas{raster: r, x: l.x, y: l.y, width: h.Width, height: h.Height}, nil
}

func decodeWebPFrame(ctx context.Context, l webpLayout) (raster, error) {
	src := &contextReader{ctx: ctx, data: l.data}
	if l.lossless {
		img, err := vp8l.Decode(bufio.NewReader(src))
		if err != nil {
			return nil, err
		}
		rgba, ok := img.(*image.NRGBA)
		if !ok {
			return nil, fmt.Errorf("vp8l returned a %T", img)
		}
		return rgbRaster{pix: rgba.Pix, stride: rgba.Stride, width: rgba.Rect.Dx(), height: rgba.Rect.Dy()}, nil
	}
	d := vp8.NewDecoder()
	d.Init(src, len(l.data))
	if _, err := d.DecodeFrameHeader(); err != nil {
		return nil, err
	}
	img, err := d.DecodeFrame()
	if err != nil {
		return nil, err
	}
	return newWebPRaster(img), nil
}
