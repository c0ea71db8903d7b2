package imageprep

import (
	"context"
	"errors"

	"github.com/agiqa/agiqa/quality"
)

// decodeFunc decodes an image whose header was sniffed and found within the
// limits. A JPEG shrinks by 1, 2, 4 or 8 meanwhile; by is 1 for other formats.
// Errors are *quality.Error or the context's.
type decodeFunc func(ctx context.Context, data []byte, h Header, by int) (raster, error)

func decoders(b *buffers) map[Format]decodeFunc {
	return map[Format]decodeFunc{JPEG: jpegDecoder(b), PNG: pngDecoder(b), WebP: webpDecoder(b), GIF: gifDecoder(b)}
}

// checkDecoded compares what was decoded with what was promised and paid for.
func checkDecoded(r raster, h Header, by int) error {
	if w, ht := r.size(); w != (h.Width+by-1)/by || ht != (h.Height+by-1)/by {
		return quality.Errorf(quality.KindImageCorrupt, "%s header says %d x %d pixels, the image has %d x %d",
			h.Format, h.Width, h.Height, w, ht)
	}
	return nil
}

// readAtMost bounds one read, so that the context is looked at often enough
// even when a decoder asks for everything at once.
const readAtMost = 16 << 10

// isContext reports whether err came from a context.
func isContext(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}
