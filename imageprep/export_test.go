package imageprep

import "context"

// FullSize decodes data within the default limits and returns convert("RGB")
// at full size.
func FullSize(data []byte) (rgb []byte, w, h int, err error) {
	header, err := Sniff(data)
	if err != nil {
		return nil, 0, 0, err
	}
	img, err := decoders()[header.Format](context.Background(), data, header)
	if err != nil {
		return nil, 0, 0, err
	}
	w, h = img.size()
	rgb = make([]byte, 3*w*h)
	for y := range h {
		img.row(y, rgb[3*w*y:][:3*w])
	}
	return rgb, w, h, checkDecoded(img, header)
}

// rgbBytes is a raster of plain RGB.
type rgbBytes struct {
	pix  []byte
	w, h int
}

func (r rgbBytes) size() (int, int)      { return r.w, r.h }
func (r rgbBytes) row(y int, dst []byte) { copy(dst, r.pix[3*r.w*y:][:3*r.w]) }

// ResizeRGB resizes and crops plain RGB.
func ResizeRGB(pix []byte, w, h int) ([]byte, error) {
	return resizeAndCrop(context.Background(), rgbBytes{pix, w, h})
}

// WithDecoder makes p decode format by decode, which says the size of the
// image it pretends to have decoded.
func (p *Preparer) WithDecoder(format Format, decode func(ctx context.Context) (w, h int, err error)) {
	p.decoders[format] = func(ctx context.Context, _ []byte, _ Header) (raster, error) {
		w, h, err := decode(ctx)
		return rgbBytes{make([]byte, 3*w*h), w, h}, err
	}
}

// CropOffset exposes the crop's arithmetic.
var CropOffset = cropOffset

// Resized exposes the resize's arithmetic.
var Resized = resized
