package imageprep

import (
	"encoding/binary"

	"github.com/agiqa/agiqa/imageprep/internal/vp8"
	"github.com/agiqa/agiqa/imageprep/internal/vp8l"
	"github.com/agiqa/agiqa/quality"
)

// webpLayout is where the picture, or the first frame of an animation, lies.
type webpLayout struct {
	data          []byte // the VP8 or VP8L bitstream
	lossless      bool
	x, y          int // position on the canvas
	width, height int // of the bitstream
}

// Chunk kinds, and bits of VP8X.
const (
	webpLossy    = "VP8 "
	webpLossless = "VP8L"
	webpExtended = "VP8X"
	webpFrame    = "ANMF"
	webpExif     = "EXIF"
	webpAnimated = 1 << 1
	webpAlpha    = 1 << 4
)

func sniffWebP(data []byte) (Header, error) {
	size := int64(binary.LittleEndian.Uint32(data[4:]))
	if size+8 > int64(len(data)) {
		return Header{}, truncated(WebP)
	}
	if size < 4 {
		return Header{}, corrupt(WebP)
	}
	chunks := webpChunks(data[12 : 8+size])
	kind, body, err := chunks.next()
	if err != nil {
		return Header{}, err
	}
	h := Header{Format: WebP, Frames: 1, Scans: 1, Bits: 8, Channels: 3}
	var l webpLayout
	switch kind {
	case webpLossy, webpLossless:
		l, err = webpBitstream(kind, body)
		h.Width, h.Height = l.width, l.height
	case webpExtended:
		l, err = h.extendedWebP(body, chunks)
	default:
		err = corrupt(WebP)
	}
	if err != nil {
		return Header{}, err
	}
	if h.planes = vp8.Memory(l.width, l.height); l.lossless {
		h.planes = vp8l.Memory(l.width, l.height)
	}
	h.layout = l
	return h, nil
}

// extendedWebP reads the canvas and finds the picture or the first frame.
func (h *Header) extendedWebP(body []byte, chunks webpChunks) (webpLayout, error) {
	if len(body) < 10 {
		return webpLayout{}, corrupt(WebP)
	}
	h.Width, h.Height = 1+uint24(body[4:]), 1+uint24(body[7:])
	if exif, err := chunks.find(webpExif); err == nil {
		h.Turned = exifTurns(exif)
	}
	if body[0]&webpAlpha != 0 {
		h.Channels = 4
	}
	if body[0]&webpAnimated == 0 {
		l, err := webpPicture(chunks)
		if err == nil && (l.width != h.Width || l.height != h.Height) {
			err = corrupt(WebP)
		}
		return l, err
	}
	first, err := chunks.find(webpFrame)
	if err != nil {
		return webpLayout{}, err
	}
	if len(first) < 16 {
		return webpLayout{}, corrupt(WebP)
	}
	l, err := webpPicture(first[16:])
	if err != nil {
		return webpLayout{}, err
	}
	l.x, l.y = 2*uint24(first), 2*uint24(first[3:])
	if l.width != 1+uint24(first[6:]) || l.height != 1+uint24(first[9:]) ||
		l.x+l.width > h.Width || l.y+l.height > h.Height {
		return webpLayout{}, corrupt(WebP)
	}
	h.Frames = chunks.count(webpFrame)
	return l, nil
}

// webpPicture finds the bitstream among its companions. An alpha plane (ALPH)
// is passed over: convert("RGB") drops it.
func webpPicture(chunks webpChunks) (webpLayout, error) {
	for {
		kind, body, err := chunks.next()
		if err != nil {
			return webpLayout{}, err
		}
		if kind == webpLossy || kind == webpLossless {
			return webpBitstream(kind, body)
		}
	}
}

// webpBitstream reads the size from a bitstream's header, RFC 9649.
func webpBitstream(kind string, b []byte) (webpLayout, error) {
	l := webpLayout{data: b, lossless: kind == webpLossless}
	if l.lossless {
		if len(b) < 5 || b[0] != 0x2f {
			return l, corrupt(WebP)
		}
		bits := binary.LittleEndian.Uint32(b[1:])
		l.width, l.height = 1+int(bits&0x3fff), 1+int(bits>>14&0x3fff)
		return l, nil
	}
	if len(b) < 10 || b[0]&1 != 0 || b[3] != 0x9d || b[4] != 0x01 || b[5] != 0x2a {
		return l, corrupt(WebP)
	}
	l.width = int(binary.LittleEndian.Uint16(b[6:]) & 0x3fff)
	l.height = int(binary.LittleEndian.Uint16(b[8:]) & 0x3fff)
	if l.width == 0 || l.height == 0 {
		return l, quality.Errorf(quality.KindImageZeroDimension, "webp image of %d x %d pixels", l.width, l.height)
	}
	return l, nil
}

// webpChunks is a run of RIFF chunks.
type webpChunks []byte

// next takes the first chunk off.
func (c *webpChunks) next() (kind string, body []byte, err error) {
	b := *c
	if len(b) < 8 {
		return "", nil, corrupt(WebP)
	}
	n := int64(binary.LittleEndian.Uint32(b[4:]))
	if n > int64(len(b))-8 {
		return "", nil, corrupt(WebP)
	}
	*c = b[min(8+n+n&1, int64(len(b))):]
	return string(b[:4]), b[8 : 8+n], nil
}

func (c webpChunks) find(want string) ([]byte, error) {
	for {
		kind, body, err := c.next()
		if err != nil || kind == want {
			return body, err
		}
	}
}

func (c webpChunks) count(want string) (n int) {
	for {
		kind, _, err := c.next()
		if err != nil {
			return n
		}
		if kind == want {
			n++
		}
	}
}

func uint24(b []byte) int { return int(b[0]) | int(b[1])<<8 | int(b[2])<<16 }
