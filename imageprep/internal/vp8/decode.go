package vp8

import (
	"context"
	"encoding/binary"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

// Decoder decodes into pooled memory. The zero value allocates for each image.
// It is safe for use by several goroutines.
type Decoder struct {
	Samples *pool.Pool[byte]
}

// decoder is one decode under way.
type decoder struct {
	*frame
	img       *Image
	row       []macroblock
	modes     []uint8 // of the 4x4 blocks above
	above     []nonzero
	left      nonzero
	strengths [2][]strength // of this row of macroblocks and the one before
	coef      [24 * 16]int16
	y2        [16]int16
}

// nonzero says which of the blocks beside a macroblock have coefficients.
type nonzero struct {
	y    [4]uint8
	u, v [2]uint8
	y2   uint8
}

// Decode decodes data, a VP8 bitstream. It looks at ctx once a row of
// macroblocks. [Image.Release] gives the memory back.
func (from Decoder) Decode(ctx context.Context, data []byte) (*Image, error) {
	f, err := parseFrame(data)
	if err != nil {
		return nil, err
	}
	d := &decoder{frame: f, img: f.newImage(from.Samples)}
	d.row, d.modes, d.above = make([]macroblock, f.mbw), make([]uint8, 4*f.mbw), make([]nonzero, f.mbw)
	for i := range d.strengths {
		d.strengths[i] = make([]strength, f.mbw)
	}
	if err := d.rows(ctx); err != nil {
		d.img.Release()
		return nil, err
	}
	return d.img, nil
}

func (f *frame) newImage(p *pool.Pool[byte]) *Image {
	w, h := (f.width+1)/2, (f.height+1)/2
	img := &Image{
		Width: f.width, Height: f.height, pool: p,
		luma: newPlane(p, f.width, f.height, f.mbw, f.mbh, 16),
		cb:   newPlane(p, w, h, f.mbw, f.mbh, 8), cr: newPlane(p, w, h, f.mbw, f.mbh, 8),
		scratch: p.Get(4 * w),
	}
	for _, pl := range []*plane{&img.luma, &img.cb, &img.cr} {
		fill(pl.pix[:pl.stride], 127)
		for y := range pl.side * f.mbh {
			pl.pix[pl.at(-1, y)] = 129
		}
	}
	return img
}

func fill(b []byte, v byte) {
	for i := range b {
		b[i] = v
	}
}

func (d *decoder) rows(ctx context.Context) error {
	for y := range d.mbh {
		if err := ctx.Err(); err != nil {
			return err
		}
		d.parseModes(d.row, d.modes)
		if d.frame.modes.short {
			return corrupt("the modes' partition ends early")
		}
		tokens := &d.partitions[y&d.rowsMask]
		d.left = nonzero{}
		for x := range d.row {
			m := &d.row[x]
			coded := d.parseTokens(tokens, m, &d.above[x])
			s := &d.strengths[y&1][x]
			*s = d.frame.strengths[m.segment][index(m.split)]
			s.blocks = s.blocks || coded
			d.reconstruct(m, x, y, coded)
		}
		if tokens.short {
			return corrupt("a partition of coefficients ends early")
		}
		d.extendRight(y)
		if y > 0 {
			d.filterRow(y - 1)
		}
	}
	d.filterRow(d.mbh - 1)
	return nil
}

func index(b bool) int {
	if b {
		return 1
	}
	return 0
}

// extendRight repeats the last sample of a row of macroblocks: what the last
// macroblock of the row below takes for its neighbour at the top right.
func (d *decoder) extendRight(y int) {
	end := d.img.luma.at(16*d.mbw, 16*y+15)
	fill(d.img.luma.pix[end:end+4], d.img.luma.pix[end-1])
}

// parseTokens reads a macroblock's coefficients, section 13, and reports
// whether there are any, as libwebp counts: a Y2 block that comes to nothing
// but zeros is none.
func (d *decoder) parseTokens(r *reader, m *macroblock, above *nonzero) (coded bool) {
	left := &d.left
	if m.skip {
		keepAbove, keepLeft := above.y2, left.y2
		*above, *left = nonzero{}, nonzero{}
		if m.split {
			above.y2, left.y2 = keepAbove, keepLeft
		}
		return false
	}
	steps := &d.steps[m.segment]
	kind, first := &d.probs[kindY], 0
	if !m.split {
		n := r.coefficients(&d.probs[kindY2], int(above.y2+left.y2), 0, &steps.y2, &d.y2)
		above.y2, left.y2 = 0, 0
		if n > 0 {
			above.y2, left.y2 = 1, 1
			inverseWHT(&d.y2, (*[256]int16)(d.coef[:]))
			d.y2 = [16]int16{}
			for i := 0; i < 256; i += 16 {
				coded = coded || d.coef[i] != 0
			}
		}
		kind, first = &d.probs[kindYAfterY2], 1
	}
	for y := range 4 {
		l := left.y[y]
		for x := range 4 {
			n := r.coefficients(kind, int(above.y[x]+l), first, &steps.y1, (*[16]int16)(d.coef[64*y+16*x:]))
			l = 0
			if n > first {
				l, coded = 1, true
			}
			above.y[x] = l
		}
		left.y[y] = l
	}
	for i, side := range [2]struct{ above, left *[2]uint8 }{{&above.u, &left.u}, {&above.v, &left.v}} {
		for y := range 2 {
			l := side.left[y]
			for x := range 2 {
				n := r.coefficients(&d.probs[kindChroma], int(side.above[x]+l), 0, &steps.uv,
					(*[16]int16)(d.coef[256+64*i+32*y+16*x:]))
				l = 0
				if n > 0 {
					l, coded = 1, true
				}
				side.above[x] = l
			}
			side.left[y] = l
		}
	}
	return coded
}

// reconstruct predicts a macroblock and adds what was coded.
func (d *decoder) reconstruct(m *macroblock, x, y int, coded bool) {
	img := d.img
	at, stride := img.luma.at(16*x, 16*y), img.luma.stride
	pix := img.luma.pix
	if m.split {
		d.reconstructBlocks(m, at)
	} else {
		predictSquare(pix, at, stride, 16, m.luma, x > 0, y > 0)
		for i := 0; coded && i < 4; i++ {
			addFour((*[64]int16)(d.coef[64*i:]), pix[at+4*i*stride:], stride)
		}
	}
	at, stride = img.cb.at(8*x, 8*y), img.cb.stride
	for i, pix := range [2][]byte{img.cb.pix, img.cr.pix} {
		predictSquare(pix, at, stride, 8, m.chroma, x > 0, y > 0)
		if coded {
			addSquare((*[64]int16)(d.coef[256+64*i:]), pix[at:], stride)
		}
	}
}

// reconstructBlocks predicts and adds each 4x4 block before the next.
func (d *decoder) reconstructBlocks(m *macroblock, at int) {
	pix, stride := d.img.luma.pix, d.img.luma.stride
	// Right of the last column of blocks is what lies above the macroblock.
	right := binary.LittleEndian.Uint32(pix[at-stride+16:])
	for i, mode := range m.sub {
		at := at + 4*(i&3) + 4*(i>>2)*stride
		corner := right
		if i&3 != 3 {
			corner = binary.LittleEndian.Uint32(pix[at-stride+4:])
		}
		predictBlock(pix, at, stride, mode, corner)
		c := (*[16]int16)(d.coef[16*i:])
		addBlock(c, pix[at:], stride)
	}
}
