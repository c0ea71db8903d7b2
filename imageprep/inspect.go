package imageprep

import "github.com/agiqa/agiqa/quality"

// Inspected is an image whose header was read and found within every limit. It
// comes from [Preparer.Inspect] and goes to [Preparer.PrepareViews], so that a file
// is hashed and its header read once.
type Inspected struct {
	Info quality.ImageInfo
	Data []byte // the file; never modified

	header Header
}

// Inspect hashes an image, reads its header and applies every limit, without
// decoding a pixel. An image that it accepts may still turn out to be corrupt
// or truncated. data must not change as long as the result is used.
func (p *Preparer) Inspect(data []byte) (Inspected, error) {
	if err := p.cfg.checkSize(data); err != nil { // the cheapest bound first
		return Inspected{}, err
	}
	h, err := Sniff(data)
	if err != nil {
		return Inspected{}, err
	}
	if err := p.cfg.checkHeader(h, h.DecodeBytes()); err != nil {
		return Inspected{}, err
	}
	return Inspected{Data: data, header: h, Info: quality.ImageInfo{
		Digest: quality.DigestOf(data), Format: string(h.Format),
		Width: h.Width, Height: h.Height, FramesIgnored: h.Frames > 1, OrientationIgnored: h.Turned,
	}}, nil
}
