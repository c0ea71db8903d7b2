package imageprep

import (
	"context"
	"errors"

	"github.com/agiqa/agiqa/imageprep/internal/jpeg"
)

func jpegDecoder(b *buffers) decodeFunc {
	d := jpeg.Decoder{Samples: b.samples, Coefficients: b.coefficients, Masks: b.masks}
	return func(ctx context.Context, data []byte, _ Header, by int) (raster, error) {
		img, err := d.DecodeReduced(ctx, data, by)
		if err != nil {
			return nil, jpegError(err)
		}
		return jpegRaster{img}, nil
	}
}

func jpegError(err error) error {
	switch {
	case errors.Is(err, jpeg.ErrTruncated):
		return truncated(JPEG).Because(err)
	case errors.Is(err, jpeg.ErrUnsupported):
		return unsupported("jpeg_sampling").Because(err)
	case isContext(err):
		return err
	}
	return corrupt(JPEG).Because(err)
}
