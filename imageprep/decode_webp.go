package imageprep

import (
	"context"

	"github.com/agiqa/agiqa/imageprep/internal/vp8"
	"github.com/agiqa/agiqa/imageprep/internal/vp8l"
)

func webpDecoder(b *buffers) decodeFunc {
	lossy, lossless := vp8.Decoder{Samples: b.samples}, vp8l.Decoder{Pixels: b.pixels}
	return func(ctx context.Context, _ []byte, h Header, _ int) (raster, error) {
		l := h.layout.(webpLayout)
		var r raster
		var err error
		if l.lossless {
			var img *vp8l.Image
			img, err = lossless.Decode(ctx, l.data)
			r = losslessRaster{img}
		} else {
			var img *vp8.Image
			img, err = lossy.Decode(ctx, l.data)
			r = lossyRaster{img}
		}
		switch {
		case isContext(err):
			return nil, err
		case err != nil:
			return nil, corrupt(WebP).Because(err)
		case l.width != h.Width || l.height != h.Height:
			return canvas{raster: r, x: l.x, y: l.y, width: h.Width, height: h.Height}, nil
		}
		return r, nil
	}
}

// lossyRaster upsamples and converts as libwebp does.
type lossyRaster struct{ img *vp8.Image }

func (r lossyRaster) size() (int, int)      { return r.img.Width, r.img.Height }
func (r lossyRaster) row(y int, dst []byte) { r.img.Row(y, dst) }
func (r lossyRaster) release()              { r.img.Release() }

// losslessRaster leaves alpha out.
type losslessRaster struct{ img *vp8l.Image }

func (r losslessRaster) size() (int, int)      { return r.img.Width, r.img.Height }
func (r losslessRaster) row(y int, dst []byte) { r.img.Row(y, dst) }
func (r losslessRaster) release()              { r.img.Release() }
