package imageprep

import "github.com/agiqa/agiqa/quality"

// Inspect reads the header of an image and applies every limit that Prepare
// would, without decoding a pixel. An image that it accepts may still turn out
// to be corrupt or truncated.
func (p *Preparer) Inspect(data []byte) (quality.ImageInfo, error) {
	h, err := p.inspect(data)
	if err != nil {
		return quality.ImageInfo{}, err
	}
	return info(data, h), nil
}

// inspect checks the cheapest bound first.
func (p *Preparer) inspect(data []byte) (Header, error) {
	if err := p.cfg.checkSize(data); err != nil {
		return Header{}, err
	}
	h, err := Sniff(data)
	if err != nil {
		return Header{}, err
	}
	return h, p.cfg.checkHeader(h)
}

func info(data []byte, h Header) quality.ImageInfo {
	return quality.ImageInfo{
		Digest: quality.DigestOf(data), Format: string(h.Format),
		Width: h.Width, Height: h.Height, FramesIgnored: h.Frames > 1,
	}
}
