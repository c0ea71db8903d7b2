package imageprep

import (
	"encoding/binary"

	"github.com/agiqa/agiqa/imageprep/internal/lzw"
)

// gifLayout is the first frame of a GIF.
type gifLayout struct {
	x, y, width, height int
	interlaced          bool
	palette             []byte // RGB triples; nil: the index is a gray level
	background          byte   // colour of the canvas around the frame
	codeBits            int    // initial LZW code length, less one
	data                []byte // sub-blocks, and whatever follows them
}

// Block introducers, GIF89a.
const (
	gifExtension = 0x21
	gifImage     = 0x2c
	gifTrailer   = 0x3b
	gifControl   = 0xf9
)

func sniffGIF(data []byte) (Header, error) {
	r := gifReader{b: data[6:]}
	screen, ok := r.take(7)
	if !ok {
		return Header{}, truncated(GIF)
	}
	width, height := int(binary.LittleEndian.Uint16(screen)), int(binary.LittleEndian.Uint16(screen[2:]))
	var global []byte
	if screen[4]&0x80 != 0 {
		if global, ok = r.take(3 << (screen[4]&7 + 1)); !ok {
			return Header{}, truncated(GIF)
		}
	}
	l, err := r.nextFrame(global)
	if err != nil {
		return Header{}, err
	}
	codes, _ := blocksLength(l.data)
	h := Header{
		Format: GIF, Frames: 1 + r.moreFrames(), Scans: 1, Bits: 8, Channels: 1, Progressive: l.interlaced,
		// Pillow lets the canvas grow to hold the first frame.
		Width: max(width, l.x+l.width), Height: max(height, l.y+l.height),
		planes: int64(l.width)*int64(l.height) + int64(codes), layout: l,
	}
	if l.width == 0 || l.height == 0 { // a frame without pixels, whatever the canvas
		h.Width, h.Height = l.width, l.height
	}
	return h, nil
}

type gifReader struct{ b []byte }

func (r *gifReader) take(n int) ([]byte, bool) {
	if len(r.b) < n {
		return nil, false
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out, true
}

// nextFrame reads up to the image data of the next frame, the file's first or
// one that is only counted.
func (r *gifReader) nextFrame(global []byte) (gifLayout, error) {
	l := gifLayout{palette: global}
	for {
		kind, ok := r.take(1)
		switch {
		case !ok:
			return l, truncated(GIF)
		case kind[0] == gifExtension:
			if err := r.extension(&l); err != nil {
				return l, err
			}
		case kind[0] == gifImage:
			return r.frame(l)
		case kind[0] == gifTrailer:
			return l, corrupt(GIF)
		}
		// Any other byte is skipped, as Pillow does.
	}
}

// extension steps over an extension; a graphic control extension may name the
// transparent colour.
func (r *gifReader) extension(l *gifLayout) error {
	label, ok := r.take(1)
	if !ok {
		return truncated(GIF)
	}
	for first := true; ; first = false {
		block, ok := r.subBlock()
		if !ok {
			return truncated(GIF)
		}
		if len(block) == 0 {
			return nil
		}
		if first && label[0] == gifControl && len(block) >= 4 && block[0]&1 != 0 {
			l.background = block[3]
		}
	}
}

func (r *gifReader) subBlock() ([]byte, bool) {
	n, ok := r.take(1)
	if !ok {
		return nil, false
	}
	return r.take(int(n[0]))
}

// skipSubBlocks steps over sub-blocks and their terminator.
func (r *gifReader) skipSubBlocks() bool {
	for {
		block, ok := r.subBlock()
		if !ok || len(block) == 0 {
			return ok
		}
	}
}

func (r *gifReader) frame(l gifLayout) (gifLayout, error) {
	d, ok := r.take(9)
	if !ok {
		return l, truncated(GIF)
	}
	l.x, l.y = int(binary.LittleEndian.Uint16(d)), int(binary.LittleEndian.Uint16(d[2:]))
	l.width, l.height = int(binary.LittleEndian.Uint16(d[4:])), int(binary.LittleEndian.Uint16(d[6:]))
	l.interlaced = d[8]&0x40 != 0
	if d[8]&0x80 != 0 {
		if l.palette, ok = r.take(3 << (d[8]&7 + 1)); !ok {
			return l, truncated(GIF)
		}
	}
	bits, ok := r.take(1)
	if !ok {
		return l, truncated(GIF)
	}
	if l.codeBits = int(bits[0]); l.codeBits < lzw.MinBits || l.codeBits > lzw.MaxBits {
		return l, corrupt(GIF)
	}
	l.data = r.b
	return l, nil
}

// moreFrames counts the frames behind the first one's data, as far as the
// file goes.
func (r gifReader) moreFrames() (n int) {
	for r.skipSubBlocks() {
		if _, err := r.nextFrame(nil); err != nil {
			break
		}
		n++
	}
	return n
}
