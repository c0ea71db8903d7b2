package imageprep

import "github.com/agiqa/agiqa/imageprep/internal/pool"

// Native is a decoder for one format that stands outside this package, such as
// a C library. If it fails, for whatever reason, the Go decoder takes over, so
// it decides neither about errors nor about unusual files.
type Native interface {
	// Format is the one it decodes: WebP.
	Format() Format
	// Name is its name and version, for provenance: "libwebp 1.2.4".
	Name() string
	// Tag is its part of the preprocess id. It changes whenever its pixels
	// could.
	Tag() string
	// Decode writes height rows of width RGB pixels to dst, exactly as Pillow
	// decodes them. data is the bitstream of one WebP picture; its header was
	// found within the limits. Decode keeps neither dst nor data, and fails on
	// anything less than flawless.
	Decode(dst, data []byte, width, height int) error
}

// decodeNative returns nil where the Go decoder has to do it. The raster takes
// memory that its release gives back.
func (p *Preparer) decodeNative(n Native, h Header) raster {
	l, ok := h.layout.(webpLayout)
	if !ok {
		return nil
	}
	packed := packedRaster{width: l.width, height: l.height, planes: p.buffers.samples}
	packed.pix = p.buffers.samples.Get(3 * l.width * l.height)
	if err := n.Decode(packed.pix, l.data, l.width, l.height); err != nil {
		packed.release()
		return nil
	}
	if l.width != h.Width || l.height != h.Height {
		return canvas{raster: packed, x: l.x, y: l.y, width: h.Width, height: h.Height}
	}
	return packed
}

// packedRaster is RGB without padding, in memory of a pool.
type packedRaster struct {
	pix           []byte
	width, height int
	planes        *pool.Pool[byte]
}

func (r packedRaster) size() (int, int)      { return r.width, r.height }
func (r packedRaster) release()              { r.planes.Put(r.pix) }
func (r packedRaster) at(y int) []byte       { return r.pix[3*r.width*y:] }
func (r packedRaster) row(y int, dst []byte) { copy(dst, r.at(y)[:3*r.width]) }
