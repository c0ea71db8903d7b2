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
	strengths [2][]strength  // of this row of macroblocks and the one before
	coef      [25 * 16]int16 // of the blocks: luma, Cb, Cr, Y2
}

// nonzero says which of the blocks above a macroblock, or to its left, have
// coefficients: four of luma, two of Cb, two of Cr, and Y2's.
type nonzero [9]uint8

// besideY2 is Y2's place among them.
const besideY2 = 8

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
			s.blocks = s.blocks || coded != 0
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

// blocks is a set of a macroblock's blocks: 16 of luma, and 4 each of Cb and Cr.
type blocks uint32

// four reports whether there is one among those from 4*i on.
func (b blocks) four(i int) bool { return b>>(4*i)&15 != 0 }

// parseTokens reads a macroblock's coefficients, section 13, and returns which
// blocks have any, as libwebp counts: a Y2 block that comes to nothing but zeros
// brings none.
func (d *decoder) parseTokens(r *reader, m *macroblock, above *nonzero) (coded blocks) {
	left := &d.left
	if m.skip {
		keepAbove, keepLeft := above[besideY2], left[besideY2]
		*above, *left = nonzero{}, nonzero{}
		if m.split {
			above[besideY2], left[besideY2] = keepAbove, keepLeft
		}
		return 0
	}
	steps := &d.steps[m.segment]
	kind, first := &d.probs[kindY], 0
	if !m.split {
		kind, first = &d.probs[kindYAfterY2], 1
		if r.blocks(&d.probs[kindY2], &steps.y2, above, left, &d.coef, 0, blockY2, blockY2+1) != 0 {
			y2 := (*[16]int16)(d.coef[16*blockY2:])
			inverseWHT(y2, (*[256]int16)(d.coef[:]))
			*y2 = [16]int16{}
			for i := range 16 {
				if d.coef[16*i] != 0 {
					coded |= 1 << i
				}
			}
		}
	}
	coded |= r.blocks(kind, &steps.y1, above, left, &d.coef, first, 0, blockCb)
	return coded | r.blocks(&d.probs[kindChroma], &steps.uv, above, left, &d.coef, 0, blockCb, blockY2)
}

// reconstruct predicts a macroblock and adds what was coded.
func (d *decoder) reconstruct(m *macroblock, x, y int, coded blocks) {
	img := d.img
	at, stride := img.luma.at(16*x, 16*y), img.luma.stride
	pix := img.luma.pix
	if m.split {
		d.reconstructBlocks(m, at, coded)
	} else {
		predictSquare(pix, at, stride, 16, m.luma, x > 0, y > 0)
		for i := range 4 {
			if coded.four(i) {
				addFour((*[64]int16)(d.coef[64*i:]), pix[at+4*i*stride:], stride)
			}
		}
	}
	at, stride = img.cb.at(8*x, 8*y), img.cb.stride
	for i, pix := range [2][]byte{img.cb.pix, img.cr.pix} {
		predictSquare(pix, at, stride, 8, m.chroma, x > 0, y > 0)
		if coded.four(4 + i) {
			addSquare((*[64]int16)(d.coef[256+64*i:]), pix[at:], stride)
		}
	}
}

// reconstructBlocks predicts and adds each 4x4 block before the next.
func (d *decoder) reconstructBlocks(m *macroblock, at int, coded blocks) {
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
		if coded>>i&1 != 0 {
			addBlock((*[16]int16)(d.coef[16*i:]), pix[at:], stride)
		}
	}
}
