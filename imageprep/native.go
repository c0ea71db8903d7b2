package imageprep

import "github.com/agiqa/agiqa/imageprep/internal/pool"

// Native is a decoder for one format that stands outside this package, such as
// a C library. If it fails, for whatever reason, the Go decoder takes over, so
// it decides neither about errors nor about unusual files.
type Native interface {
	// Format is the one it decodes: JPEG or WebP.
	Format() Format
	// Name is its name and version, for provenance: "libjpeg-turbo 2.1.5".
	Name() string
	// Tag is its part of the preprocess id. It changes whenever its pixels
	// could.
	Tag() string
	// Decode writes height rows of width pixels of samples bytes (3: RGB, 1:
	// gray) to dst, exactly as Pillow decodes them. data is a whole JPEG file,
	// or the bitstream of one WebP picture; its header was found within the
	// limits. A JPEG's width and height may be its own divided by 2, 4 or 8,
	// rounded up: it is then decoded at that size. Decode keeps neither dst
	// nor data, and fails on anything less than flawless.
	Decode(dst, data []byte, width, height, samples int) error
}

// nativeWork is what a native decoder is asked for.
type nativeWork struct {
	data                   []byte
	width, height, samples int
	canvas                 *webpLayout // the picture's place, where it does not fill its canvas
}

// nativeWorkFor says whether and how a native decoder of h's format decodes
// data. by is 1, 2, 4 or 8, the reduction.
func nativeWorkFor(h Header, data []byte, by int) (nativeWork, bool) {
	switch h.Format {
	case JPEG:
		if h.Channels == 4 || !plainJPEG(data) {
			return nativeWork{}, false
		}
		return nativeWork{data: data, width: (h.Width + by - 1) / by, height: (h.Height + by - 1) / by, samples: h.Channels},
			true
	case WebP:
		l := h.layout.(webpLayout)
		w := nativeWork{data: l.data, width: l.width, height: l.height, samples: 3}
		if l.width != h.Width || l.height != h.Height {
			w.canvas = &l
		}
		return w, true
	}
	return nativeWork{}, false
}

// reductionFor is how far fast preprocessing lets a JPEG shrink while it is
// decoded for a view at size: to a short side of at least twice that.
func reductionFor(h Header, size int) int {
	short := min(h.Width, h.Height)
	for _, by := range []int{8, 4, 2} {
		if h.Format == JPEG && (short+by-1)/by >= 2*size {
			return by
		}
	}
	return 1
}

// decodeNative returns nil where the Go decoder has to do it. The raster takes
// memory that its release gives back.
func (p *Preparer) decodeNative(n Native, data []byte, h Header, by int) raster {
	w, ok := nativeWorkFor(h, data, by)
	if !ok {
		return nil
	}
	packed := packedRaster{width: w.width, height: w.height, samples: w.samples, planes: p.buffers.samples}
	packed.pix = p.buffers.samples.Get(w.width * w.height * w.samples)
	if err := n.Decode(packed.pix, w.data, w.width, w.height, w.samples); err != nil {
		packed.release()
		return nil
	}
	if w.canvas != nil {
		return canvas{raster: packed, x: w.canvas.x, y: w.canvas.y, width: h.Width, height: h.Height}
	}
	return packed
}

// packedRaster is RGB or gray without padding, in memory of a pool.
type packedRaster struct {
	pix                    []byte
	width, height, samples int
	planes                 *pool.Pool[byte]
}

func (r packedRaster) size() (int, int) { return r.width, r.height }
func (r packedRaster) release()         { r.planes.Put(r.pix) }

func (r packedRaster) at(y int) []byte {
	if r.samples != 3 {
		return nil
	}
	return r.pix[3*r.width*y:]
}

func (r packedRaster) row(y int, dst []byte) {
	src := r.pix[y*r.width*r.samples:][:r.width*r.samples]
	if r.samples == 3 {
		copy(dst, src)
		return
	}
	for x, v := range src {
		d := dst[3*x : 3*x+3 : 3*x+3]
		d[0], d[1], d[2] = v, v, v
	}
}
