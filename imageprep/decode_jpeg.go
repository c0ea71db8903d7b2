package imageprep

import (
	"context"
	"errors"

	"github.com/agiqa/agiqa/imageprep/internal/jpeg"
)

func decodeJPEG(ctx context.Context, data []byte, _ Header) (raster, error) {
	img, err := jpeg.Decode(ctx, data)
	switch {
	case err == nil:
		return jpegRaster{img}, nil
	case errors.Is(err, jpeg.ErrTruncated):
		return nil, truncated(JPEG).Because(err)
	case errors.Is(err, jpeg.ErrUnsupported):
		return nil, unsupported("jpeg_sampling").Because(err)
	case isContext(err):
		return nil, err
	}
	return nil, corrupt(JPEG).Because(err)
}
