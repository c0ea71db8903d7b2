package imageprep

import (
	"compress/lzw"
	"context"
	"errors"
	"io"
)

// decodeGIF decodes the first frame. image/gif is not used: it insists that
// the frame lies within the canvas, and decodes every other frame too.
func decodeGIF(ctx context.Context, _ []byte, h Header, _ int) (raster, error) {
	l := h.layout.(gifLayout)
	blocks := &gifBlocks{ctx: ctx, rest: l.data}
	r := lzw.NewReader(blocks, lzw.LSB, l.codeBits)
	defer r.Close()
	pix := make([]byte, l.width*l.height)
	for y := range l.height {
		row := y
		if l.interlaced {
			row = interlacedRow(y, l.height)
		}
		if _, err := io.ReadFull(r, pix[row*l.width:][:l.width]); err != nil {
			switch {
			case isContext(err):
				return nil, err
			case errors.Is(blocks.err, io.ErrUnexpectedEOF):
				return nil, truncated(GIF).Because(err)
			}
			return nil, corrupt(GIF).Because(err)
		}
	}
	colours := gifPalette(l.palette)
	frame := paletteRaster{pix: pix, stride: l.width, width: l.width, height: l.height, colours: colours}
	if l.width == h.Width && l.height == h.Height {
		return frame, nil
	}
	return canvas{raster: frame, x: l.x, y: l.y, width: h.Width, height: h.Height, colour: colours[l.background]}, nil
}

// interlacedRow maps the n-th row in the file to its place: every eighth from
// 0, every eighth from 4, every fourth from 2, every second from 1.
func interlacedRow(n, height int) int {
	for _, pass := range [4][2]int{{0, 8}, {4, 8}, {2, 4}, {1, 2}} {
		rows := max(0, (height-pass[0]+pass[1]-1)/pass[1])
		if n < rows {
			return pass[0] + n*pass[1]
		}
		n -= rows
	}
	return height - 1
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

// gifBlocks joins the data of sub-blocks.
type gifBlocks struct {
	ctx   context.Context // for the length of one decode
	rest  []byte          // the file from the next sub-block on
	block []byte          // what is left of the current one
	err   error           // io.EOF after the last block, io.ErrUnexpectedEOF where the file ends
}

// ReadByte implements io.ByteReader, which lzw asks for.
func (b *gifBlocks) ReadByte() (byte, error) {
	if len(b.block) == 0 {
		if b.err == nil {
			b.err = b.next()
		}
		if b.err != nil {
			return 0, b.err
		}
	}
	v := b.block[0]
	b.block = b.block[1:]
	return v, nil
}

// Read implements io.Reader.
func (b *gifBlocks) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	v, err := b.ReadByte()
	if err != nil {
		return 0, err
	}
	p[0] = v
	return 1, nil
}

func (b *gifBlocks) next() error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if len(b.rest) == 0 {
		return io.ErrUnexpectedEOF
	}
	n := int(b.rest[0])
	if n == 0 {
		return io.EOF
	}
	if len(b.rest) < 1+n {
		return io.ErrUnexpectedEOF
	}
	b.block, b.rest = b.rest[1:1+n], b.rest[1+n:]
	return nil
}
