package imageprep

import (
	"context"

	"github.com/agiqa/agiqa/quality"
)

// RGB is an image at full size, three bytes a pixel, row by row.
type RGB struct {
	Width, Height int
	Pix           []byte
}

func (r RGB) size() (int, int)      { return r.Width, r.Height }
func (r RGB) at(y int) []byte       { return r.Pix[3*r.Width*y:] }
func (r RGB) row(y int, dst []byte) { copy(dst, r.at(y)[:3*r.Width]) }

// DecodeRGB is the first half of [Preparer.Prepare] by itself, for
// measurements and pictures: convert("RGB") at full size. Prepare never makes
// that. The memory of into is used when it is large enough. Limits and errors
// are Prepare's.
func (p *Preparer) DecodeRGB(ctx context.Context, data []byte, into RGB) (RGB, error) {
	in, err := p.Inspect(data)
	if err != nil {
		return RGB{}, err
	}
	h := in.header
	share := h.DecodeBytes()
	if err := p.memory.acquire(ctx, share); err != nil {
		return RGB{}, outOfTime(err)
	}
	defer p.memory.release(share)
	img, err := p.decode(ctx, data, h, 1)
	if err != nil {
		return RGB{}, err
	}
	defer release(img)
	out := RGB{Width: h.Width, Height: h.Height, Pix: into.Pix}
	if n := 3 * h.Width * h.Height; cap(out.Pix) < n {
		out.Pix = make([]byte, n)
	} else {
		out.Pix = out.Pix[:n]
	}
	for y := range h.Height {
		img.row(y, out.Pix[3*h.Width*y:][:3*h.Width])
	}
	return out, nil
}

// ResizeRGB is the second half: Resize(224, bicubic) and CenterCrop(224).
func (p *Preparer) ResizeRGB(ctx context.Context, img RGB) (quality.Pixels, error) {
	rgb, err := p.resizer.cut(ctx, img, []quality.View{{}})
	if err != nil {
		return quality.Pixels{}, outOfTime(err)
	}
	return quality.NewPixels(rgb[0])
}
