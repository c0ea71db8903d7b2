package imageprep

import (
	"context"

	"github.com/agiqa/agiqa/imageprep/internal/lzw"
	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

// gifDecoder decodes the first frame. image/gif is not used: it insists that
// the frame lies within the canvas, and decodes every other frame too.
func gifDecoder(b *buffers) decodeFunc {
	return func(ctx context.Context, _ []byte, h Header, _ int) (raster, error) {
		l := h.layout.(gifLayout)
		frame := gifRaster{
			pix: b.samples.Get(l.width * l.height), width: l.width, height: l.height, interlaced: l.interlaced,
			colours: gifPalette(l.palette), pool: b.samples,
		}
		room, ended := blocksLength(l.data)
		codes := joinBlocks(b.samples.Get(room+lzw.ReadAhead), l.data)
		err := lzw.Decode(ctx, frame.pix, codes, l.codeBits)
		b.samples.Put(codes)
		switch {
		case isContext(err):
			frame.release()
			return nil, err
		case err != nil && ended:
			frame.release()
			return nil, truncated(GIF).Because(err)
		case err != nil:
			frame.release()
			return nil, corrupt(GIF).Because(err)
		case l.width == h.Width && l.height == h.Height:
			return frame, nil
		}
		background := frame.colours[l.background]
		return canvas{raster: frame, x: l.x, y: l.y, width: h.Width, height: h.Height, colour: background}, nil
	}
}

// blocksLength is how many bytes sub-blocks hold, and whether the file ended
// before them.
func blocksLength(blocks []byte) (n int, ended bool) {
	r := gifReader{b: blocks}
	for {
		rest := len(r.b)
		block, ok := r.subBlock()
		if !ok {
			return n + max(0, rest-1), true
		}
		if len(block) == 0 {
			return n, false
		}
		n += len(block)
	}
}

// joinBlocks copies the data of sub-blocks to dst.
func joinBlocks(dst, blocks []byte) []byte {
	data := dst[:0]
	for len(blocks) > 0 && blocks[0] > 0 {
		end := min(1+int(blocks[0]), len(blocks))
		data, blocks = append(data, blocks[1:end]...), blocks[end:]
	}
	return data
}

// gifRaster is a frame as the file has it: the rows of an interlaced one are in
// another order.
type gifRaster struct {
	pix           []byte
	width, height int
	interlaced    bool
	colours       *palette
	pool          *pool.Pool[byte]
}

func (r gifRaster) size() (int, int) { return r.width, r.height }
func (r gifRaster) release()         { r.pool.Put(r.pix) }

func (r gifRaster) row(y int, dst []byte) {
	if r.interlaced {
		y = interlacedPlace(y, r.height)
	}
	r.colours.row(r.pix[y*r.width:][:r.width], dst)
}

// interlacedPlace is where row y stands in the file: every eighth from 0, every
// eighth from 4, every fourth from 2, every second from 1.
func interlacedPlace(y, height int) int {
	before := 0
	for _, pass := range [4][2]int{{0, 8}, {4, 8}, {2, 4}, {1, 2}} {
		if y%pass[1] == pass[0] {
			return before + y/pass[1]
		}
		before += max(0, (height-pass[0]+pass[1]-1)/pass[1])
	}
	return y // not reached: the passes hold every row
}

// gifPalette fills in what the file leaves out: without a palette an index is
// a gray level.
func gifPalette(triples []byte) *palette {
	p := new(palette)
	for i := range p {
		switch {
		case triples == nil:
			p[i] = [3]byte{byte(i), byte(i), byte(i)}
		case 3*i+3 <= len(triples):
			copy(p[i][:], triples[3*i:])
		}
	}
	return p
}
