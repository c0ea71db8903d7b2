package imageprep

// The time that a pixel takes against one of a baseline JPEG: measured, and
// rounded, because nothing but the order of work depends on it.
const (
	costProgressive = 2.0 // every scan is a pass over the coefficients
	costDeep        = 1.7 // 16-bit PNG
	costWebP        = 1.5
	costGIF         = 0.6
)

// DecodeCost estimates what decoding takes, in megapixels of a baseline JPEG.
// It is known from the header alone.
func (in Inspected) DecodeCost() float64 {
	mp := float64(in.Info.Width) * float64(in.Info.Height) / 1e6
	switch {
	case in.header.Progressive:
		return mp * costProgressive
	case in.header.Format == PNG && in.header.Bits > 8:
		return mp * costDeep
	case in.header.Format == WebP:
		return mp * costWebP
	case in.header.Format == GIF:
		return mp * costGIF
	}
	return mp
}
