package imageprep

import "github.com/agiqa/agiqa/quality"

// Header is what the header of a file says, read without decoding a pixel.
type Header struct {
	Format        Format
	Width, Height int // of the canvas; both positive
	Frames        int // of an animation; 1 for a still image
	Scans         int // of a JPEG; 1 for every other format
	Bits          int // a sample, as stored
	Channels      int // as stored; 1 for palettes
	Progressive   bool
	Turned        bool // EXIF says that it is to be turned or mirrored

	planes int64 // bytes that the decoder allocates for pixels
	layout any   // what the format's decoder wants to know again
}

// Pixels is the number of pixels of the canvas.
func (h Header) Pixels() int64 { return int64(h.Width) * int64(h.Height) }

// DecodeBytes estimates the memory that Prepare needs for the image, besides
// data itself: the decoder's planes (a progressive JPEG holds two bytes of
// coefficient for each sample besides the sample; a 16-bit PNG eight bytes a
// pixel; an interlaced one everything twice), the compressed data of a JPEG or a
// GIF once more, one row of RGB, and the rows that wait for the vertical pass of the resize.
func (h Header) DecodeBytes() int64 {
	w, ht := int64(h.Width), int64(h.Height)
	short := min(w, ht)
	waiting := min(ht, short+short/16+16)
	return h.planes + 3*w + waiting*rowBytes
}

// Sniff reads the header of data. Errors are of kind
// unsupported_image_format, image_zero_dimension, image_truncated and
// image_corrupt.
func Sniff(data []byte) (Header, error) {
	var h Header
	var err error
	switch formatOf(data) {
	case JPEG:
		h, err = sniffJPEG(data)
	case PNG:
		h, err = sniffPNG(data)
	case WebP:
		h, err = sniffWebP(data)
	case GIF:
		h, err = sniffGIF(data)
	default:
		if name := otherFormat(data); name != "" {
			return Header{}, unsupported(name)
		}
		return Header{}, quality.Errorf(quality.KindUnsupportedImageFormat, "unsupported image format; send jpeg, png, "+
			"webp or gif")
	}
	if err != nil {
		return Header{}, err
	}
	if h.Width <= 0 || h.Height <= 0 {
		return Header{},
			quality.Errorf(quality.KindImageZeroDimension, "%s image of %d x %d pixels", h.Format, h.Width, h.Height)
	}
	return h, nil
}

func unsupported(name string) *quality.Error {
	return quality.Errorf(quality.KindUnsupportedImageFormat, "%s is not supported; send jpeg, png, webp or gif", name)
}

func truncated(f Format) *quality.Error {
	return quality.Errorf(quality.KindImageTruncated, "the %s file ends before the image does", f)
}

func corrupt(f Format) *quality.Error {
	return quality.Errorf(quality.KindImageCorrupt, "the %s file is damaged", f)
}
