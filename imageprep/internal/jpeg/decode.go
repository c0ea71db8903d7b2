package jpeg

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

// What can be wrong with a file. Every error of [Decode] matches one of these
// or is the context's.
var (
	ErrCorrupt     = errors.New("corrupt JPEG")
	ErrTruncated   = errors.New("truncated JPEG")
	ErrUnsupported = errors.New("unsupported JPEG")
)

// Markers, ITU-T T.81 table B.1.
const (
	markerSOF0 = 0xC0
	markerSOF1 = 0xC1
	markerSOF2 = 0xC2
	markerDHT  = 0xC4
	markerRST0 = 0xD0
	markerRST7 = 0xD7
	markerSOI  = 0xD8
	markerEOI  = 0xD9
	markerSOS  = 0xDA
	markerDQT  = 0xDB
	markerDRI  = 0xDD
	markerDAC  = 0xCC
	markerAPP0 = 0xE0
	markerAPPE = 0xEE
	markerAPPF = 0xEF
	markerCOM  = 0xFE
	markerTEM  = 0x01
)

// zigzag maps the order of coefficients in the file to row-major order.
var zigzag = [64]uint8{
	0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5,
	12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6, 7, 14, 21, 28,
	35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
	58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
}

// quantTable is in row-major order.
type quantTable [64]int32

type decoder struct {
	segments
	ctx         context.Context // for the length of one decode
	pools       Decoder
	img         *Image
	progressive bool
	by          int
	hMax, vMax  int
	quant       [4]*quantTable
	dc, ac      [4]*huffmanSpec
	restart     int // MCUs between restart markers, 0: none
	jfif        bool
	adobe       int // transform of the APP14 segment, -1 without one
	scanned     bool
	bits        bitReader
	unstuffed   []byte // room for any segment, from the first scan on
	eobRun      int
}

// Decoder decodes into pooled memory. The zero value allocates for each image.
// It is safe for use by several goroutines.
type Decoder struct {
	Samples      *pool.Pool[byte]
	Coefficients *pool.Pool[int16]
	Masks        *pool.Pool[uint64]
}

// Decode decodes data at full size. It looks at ctx once a row of blocks and
// once a marker segment. [Image.Release] gives the memory back.
func (from Decoder) Decode(ctx context.Context, data []byte) (*Image, error) {
	return from.DecodeReduced(ctx, data, 1)
}

// DecodeReduced decodes data at its size divided by 1, 2, 4 or 8, rounded up,
// by smaller inverse transforms.
func (from Decoder) DecodeReduced(ctx context.Context, data []byte, by int) (*Image, error) {
	if by != 1 && by != 2 && by != 4 && by != 8 {
		return nil, fmt.Errorf("jpeg: no reduction by %d", by)
	}
	d := &decoder{ctx: ctx, pools: from, segments: segments{data: data}, adobe: -1, by: by}
	img, err := d.image()
	from.Samples.Put(d.unstuffed)
	if d.img != nil {
		d.releaseCoefficients()
		if err != nil {
			d.img.Release()
		}
	}
	return img, err
}

func (d *decoder) image() (*Image, error) {
	if err := d.start(); err != nil {
		return nil, err
	}
	for {
		done, err := d.segment()
		if err != nil {
			return nil, err
		}
		if done {
			return d.finish()
		}
	}
}

func (d *decoder) releaseCoefficients() {
	for _, c := range d.img.comps {
		d.pools.Coefficients.Put(c.coef)
		d.pools.Masks.Put(c.known)
		c.coef, c.known = nil, nil
	}
}

// segment handles one marker and its segment. It reports whether the image is
// complete.
func (d *decoder) segment() (done bool, err error) {
	if err := d.ctx.Err(); err != nil {
		return false, err
	}
	marker, ok := d.nextMarker()
	if !ok {
		return false, ErrTruncated
	}
	switch {
	case marker == markerEOI:
		return true, nil
	case marker >= markerRST0 && marker <= markerRST7, marker == markerTEM:
		return false, nil
	case marker == markerSOI:
		return false, fmt.Errorf("%w: second start of image", ErrCorrupt)
	}
	body, err := d.body(marker)
	if err != nil {
		return false, err
	}
	switch marker {
	case markerSOF0, markerSOF1, markerSOF2:
		return false, d.frame(body, marker == markerSOF2)
	case markerDHT:
		return false, d.huffmanTables(body)
	case markerDQT:
		return false, d.quantTables(body)
	case markerDRI:
		if len(body) != 2 {
			return false, fmt.Errorf("%w: restart interval of %d bytes", ErrCorrupt, len(body))
		}
		d.restart = int(body[0])<<8 | int(body[1])
	case markerAPP0:
		d.jfif = d.jfif || bytes.HasPrefix(body, []byte("JFIF\x00"))
	case markerAPPE:
		if len(body) >= 12 && bytes.HasPrefix(body, []byte("Adobe")) {
			d.adobe = int(body[11])
		}
	case markerSOS:
		return d.scan(body)
	case 0xC3, 0xC5, 0xC6, 0xC7, 0xC8, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF:
		return false, fmt.Errorf("%w: coding process %#x", ErrUnsupported, marker)
	case markerDAC: // conditions arithmetic coding, and means nothing to a Huffman-coded file
	}
	return false, nil
}

func (d *decoder) quantTables(b []byte) error {
	for len(b) > 0 {
		id, wide := b[0]&15, b[0]>>4
		size := 64 << min(wide, 1)
		if id > 3 || wide > 1 || len(b) < 1+size {
			return fmt.Errorf("%w: quantisation table", ErrCorrupt)
		}
		t := new(quantTable)
		for i, z := range zigzag {
			if wide == 0 {
				t[z] = int32(b[1+i])
			} else {
				t[z] = int32(b[1+2*i])<<8 | int32(b[2+2*i])
			}
		}
		d.quant[id], b = t, b[1+size:]
	}
	return nil
}

func (d *decoder) huffmanTables(b []byte) error {
	for len(b) > 0 {
		if len(b) < 17 {
			return fmt.Errorf("%w: Huffman table", ErrCorrupt)
		}
		spec := &huffmanSpec{}
		total := 0
		for i := range spec.counts {
			spec.counts[i] = b[1+i]
			total += int(b[1+i])
		}
		id, class := b[0]&15, b[0]>>4
		if id > 3 || class > 1 || total > 256 || len(b) < 17+total {
			return fmt.Errorf("%w: Huffman table", ErrCorrupt)
		}
		spec.symbols = b[17 : 17+total]
		if class == 0 {
			d.dc[id] = spec
		} else {
			d.ac[id] = spec
		}
		b = b[17+total:]
	}
	return nil
}

// frame reads the start of frame and allocates the planes.
func (d *decoder) frame(b []byte, progressive bool) error {
	if d.img != nil {
		return fmt.Errorf("%w: second frame", ErrCorrupt)
	}
	f, err := parseFrame(b)
	if err != nil {
		return err
	}
	if f.precision != 8 {
		return fmt.Errorf("%w: %d bits a sample", ErrUnsupported, f.precision)
	}
	if f.width == 0 || f.height == 0 {
		return fmt.Errorf("%w: no pixels", ErrCorrupt)
	}
	if err := f.layOut(d.by); err != nil {
		return err
	}
	d.progressive, d.hMax, d.vMax = progressive, f.hMax, f.vMax
	d.img = &Image{Width: ceilDiv(f.width, d.by), Height: ceilDiv(f.height, d.by), comps: f.comps, pool: d.pools.Samples}
	for _, c := range f.comps {
		c.pix = d.pools.Samples.Get(c.samples()) // a scan writes every sample that is read later
		if progressive {
			c.coef = d.pools.Coefficients.Get(64 * c.blocks())
			clear(c.coef)
			c.known = d.pools.Masks.Get(c.blocks())
			clear(c.known)
			for k := range c.missing {
				c.missing[k] = neverSent
			}
		}
	}
	return nil
}

// finish turns coefficients into samples and prepares for Row.
func (d *decoder) finish() (*Image, error) {
	if d.img == nil || !d.scanned {
		return nil, fmt.Errorf("%w: no image data", ErrCorrupt)
	}
	for _, c := range d.img.comps {
		if c.quant == nil {
			return nil, fmt.Errorf("%w: component %d was never sent", ErrCorrupt, c.id)
		}
		if !d.progressive {
			continue
		}
		if !c.complete() {
			return nil, fmt.Errorf("%w: progressive scans are missing", ErrTruncated)
		}
		for by := range c.blocksY {
			if err := d.ctx.Err(); err != nil {
				return nil, err
			}
			for bx := range c.blocksX {
				block := (*[64]int16)(c.coef[(by*c.blocksX+bx)*64:])
				c.inverseDCT(block, c.at(bx, by))
			}
		}
	}
	d.img.prepare(d.hMax*8/d.by, d.vMax*8/d.by, d.by < 8, d.jfif, d.adobe)
	return d.img, nil
}
