package png

import (
	"encoding/binary"
	"hash/crc32"
	"sync"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

// Image is a decoded file: samples of 8 bits.
type Image struct {
	Width, Height int
	Channels      int    // samples a pixel: 1 gray or index, 2 gray and alpha, 3 RGB, 4 RGBA
	Palette       []byte // RGB triples of the file; nil without one

	raw  []byte // rows, each with its filter's byte before it
	pool *pool.Pool[byte]
}

// Row returns the samples of a row.
func (img *Image) Row(y int) []byte {
	n := img.Width * img.Channels
	return img.raw[y*(n+1)+1:][:n]
}

// Release gives the memory back.
func (img *Image) Release() { img.pool.Put(img.raw); img.raw = nil }

// Decoder decodes into pooled memory. It is safe for use by several
// goroutines.
type Decoder struct {
	pool      *pool.Pool[byte]
	inflaters sync.Pool // of *inflater: one size, so the collector may keep count
}

// NewDecoder returns a decoder.
func NewDecoder(p *pool.Pool[byte]) *Decoder {
	return &Decoder{pool: p, inflaters: sync.Pool{New: func() any { return new(inflater) }}}
}

// Decode returns nil for a file that is not of the common kind, damaged in any
// way, or given up by goOn, which it calls now and then. The caller has seen
// to it that the size in the header is one that it can bear.
func (d *Decoder) Decode(data []byte, goOn func() bool) *Image {
	f := parse(data)
	if f == nil {
		return nil
	}
	stream := f.data[0]
	if len(f.data) > 1 {
		n := 0
		for _, part := range f.data {
			n += len(part)
		}
		joined := d.pool.Get(n)
		defer d.pool.Put(joined)
		stream = joined[:0]
		for _, part := range f.data {
			stream = append(stream, part...)
		}
	}
	img := &Image{Width: f.width, Height: f.height, Channels: f.channels, Palette: f.palette, pool: d.pool}
	img.raw = d.pool.Get(f.height * (f.width*f.channels + 1))
	inflater := d.inflaters.Get().(*inflater)
	ok := inflater.zlib(img.raw, stream, goOn)
	d.inflaters.Put(inflater)
	if !ok || !img.unfilter(goOn) {
		img.Release()
		return nil
	}
	return img
}

func (img *Image) unfilter(goOn func() bool) bool {
	n := img.Width * img.Channels
	prev := img.pool.Get(n)
	zeros := prev
	defer img.pool.Put(zeros)
	clear(prev)
	for y := range img.Height {
		row := img.Row(y)
		if !goOn() || !unfilter(img.raw[y*(n+1)], row, prev, img.Channels) {
			return false
		}
		prev = row
	}
	return true
}

// file is what the chunks hold.
type file struct {
	width, height, channels int
	palette                 []byte
	data                    [][]byte
}

const magic = "\x89PNG\r\n\x1a\n"

var channelsOf = map[byte]int{0: 1, 2: 3, 3: 1, 4: 2, 6: 4}

// parse walks the chunks: IHDR, whatever is not critical, PLTE for palettes
// only, IDAT without interruption, IEND. It returns nil for anything else.
func parse(data []byte) *file {
	if len(data) < len(magic) || string(data[:len(magic)]) != magic {
		return nil
	}
	var f *file
	for rest := data[len(magic):]; ; {
		kind, body, next := chunk(rest)
		if kind == "" {
			return nil
		}
		switch {
		case f == nil:
			if f = header(kind, body); f == nil {
				return nil
			}
		case kind == "IEND":
			if len(body) != 0 || f.data == nil || f.indexed() && len(f.palette) == 0 {
				return nil
			}
			return f
		case kind == "IDAT":
			f.data = append(f.data, body)
		case f.data != nil && kind != "IEND" && nextIs(next, "IDAT"):
			return nil
		case kind == "PLTE":
			if !f.indexed() || len(f.palette) > 0 || f.data != nil || len(body) == 0 || len(body)%3 != 0 || len(body) > 768 {
				return nil
			}
			f.palette = body
		case kind[0]&0x20 == 0, kind == "tRNS": // critical, or with rules of its own
			return nil
		}
		rest = next
	}
}

// noPalette marks an indexed file whose palette has not come yet.
var noPalette = []byte{}

func (f *file) indexed() bool { return f.palette != nil }

func nextIs(b []byte, kind string) bool { return len(b) >= 8 && string(b[4:8]) == kind }

func header(kind string, b []byte) *file {
	if kind != "IHDR" || len(b) != 13 || b[8] != 8 || b[10] != 0 || b[11] != 0 || b[12] != 0 {
		return nil
	}
	f := &file{
		width: int(binary.BigEndian.Uint32(b)), height: int(binary.BigEndian.Uint32(b[4:])), channels: channelsOf[b[9]],
	}
	const most = 1 << 31
	if f.width == 0 || f.height == 0 || f.width >= most || f.height >= most || f.channels == 0 {
		return nil
	}
	if b[9] == 3 {
		f.palette = noPalette
	}
	return f
}

// chunk cuts the first chunk off and checks its sum. It returns an empty kind
// when there is no sound chunk.
func chunk(b []byte) (kind string, body, rest []byte) {
	const frame = 12
	if len(b) < frame {
		return "", nil, nil
	}
	n := int64(binary.BigEndian.Uint32(b))
	if n > int64(len(b))-frame {
		return "", nil, nil
	}
	if crc32.ChecksumIEEE(b[4:8+n]) != binary.BigEndian.Uint32(b[8+n:]) {
		return "", nil, nil
	}
	return string(b[4:8]), b[8 : 8+n], b[frame+n:]
}
