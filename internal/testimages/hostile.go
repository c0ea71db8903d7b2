package testimages

import (
	"bytes"
	"compress/zlib"
	"encoding/binary"
	"hash/crc32"
	"math/bits"
	"slices"
)

// Hostile returns files that cost a careless decoder its memory, its time or
// its process, by name. All are small; none is a valid picture to use.
func Hostile() map[string][]byte {
	return map[string][]byte{
		"png-rgba-40000x40000":             PNGHeader(40000, 40000, 8, 6),
		"png-gray1-30000x30000":            PNGHeader(30000, 30000, 1, 0),
		"png-rgba-16000x16000":             PNGHeader(16000, 16000, 8, 6),
		"png-2147483647x2147483647":        PNGHeader(1<<31-1, 1<<31-1, 16, 6),
		"jpeg-baseline-65535x65535":        JPEGHeader(0xC0, 65535, 65535, 8, 3),
		"jpeg-progressive-65535x65535":     JPEGHeader(0xC2, 65535, 65535, 8, 3),
		"jpeg-progressive-20000x20000":     JPEGHeader(0xC2, 20000, 20000, 8, 3),
		"webp-lossless-16384x16384":        WebPLosslessHeader(16384, 16384),
		"webp-lossy-16383x16383":           WebPLossyHeader(16383, 16383),
		"webp-extended-16777216x16777216":  WebPExtendedHeader(1<<24, 1<<24),
		"gif-65535x65535":                  GIFHeader(65535, 65535, 65535, 65535),
		"gif-canvas-65535x65535-frame-1x1": GIFHeader(65535, 65535, 1, 1),
		"gif-frame-65535x65535":            GIFHeader(1, 1, 65535, 65535),
	}
}

// PNGHeader returns a PNG that promises w x h pixels and holds a few bytes of
// image data.
func PNGHeader(w, h uint32, depth, colourType byte) []byte {
	ihdr := binary.BigEndian.AppendUint32(nil, w)
	ihdr = binary.BigEndian.AppendUint32(ihdr, h)
	ihdr = append(ihdr, depth, colourType, 0, 0, 0)
	out := []byte("\x89PNG\r\n\x1a\n")
	out = PNGChunk(out, "IHDR", ihdr)
	return PNGChunk(out, "IDAT", []byte{0x78, 0x9c, 0x03, 0, 0, 0, 0, 1})
}

// PNGChunk appends one chunk with its right checksum.
func PNGChunk(out []byte, kind string, data []byte) []byte {
	out = binary.BigEndian.AppendUint32(out, uint32(len(data)))
	start := len(out)
	out = append(append(out, kind...), data...)
	return binary.BigEndian.AppendUint32(out, crc32.ChecksumIEEE(out[start:]))
}

// JPEGHeader returns a JPEG with the given start-of-frame marker, one
// quantisation table and one DC and AC table, and the start of a scan.
func JPEGHeader(sof byte, w, h uint16, precision, components byte) []byte {
	out := []byte{0xFF, 0xD8}
	out = JPEGSegment(out, 0xDB, append([]byte{0}, bytes.Repeat([]byte{16}, 64)...))
	frame := []byte{precision, byte(h >> 8), byte(h), byte(w >> 8), byte(w), components}
	scan := []byte{components}
	for c := byte(1); c <= components; c++ {
		frame = append(frame, c, 0x11, 0)
		scan = append(scan, c, 0)
	}
	out = JPEGSegment(out, sof, frame)
	for _, class := range []byte{0x00, 0x10} {
		counts := make([]byte, 17)
		counts[0], counts[1] = class, 1
		out = JPEGSegment(out, 0xC4, append(counts, 0))
	}
	last := byte(63)
	if sof == 0xC2 {
		last = 0
	}
	return JPEGSegment(out, 0xDA, append(scan, 0, last, 0))
}

// JPEGSegment appends a marker segment.
func JPEGSegment(out []byte, marker byte, data []byte) []byte {
	out = append(out, 0xFF, marker)
	out = binary.BigEndian.AppendUint16(out, uint16(len(data)+2))
	return append(out, data...)
}

// ScanFlood returns a valid progressive gray JPEG of w x h pixels with n
// further scans over its AC coefficients. Every scan makes a decoder visit
// every block, for a few bytes of input each.
func ScanFlood(w, h uint16, n int) []byte { return progressive(w, h, 1, n) }

// progressive returns a progressive JPEG of one colour, whose components each
// have n scans over their AC coefficients.
func progressive(w, h uint16, components byte, n int) []byte {
	out := JPEGHeader(0xC2, w, h, 8, components)
	if components == 4 {
		adobe := JPEGSegment(nil, 0xEE, append([]byte("Adobe\x00\x64"), 0, 0, 0, 0, 0))
		out = slices.Insert(out, 2, adobe...)
	}
	blocks := (int(w) + 7) / 8 * ((int(h) + 7) / 8)
	// One bit a block: DC difference 0 in the first scan.
	out = append(out, make([]byte, (blocks*int(components)+7)/8)...)
	// AC: end-of-band runs of 2^n to 2^(n+1)-1 blocks are symbol n<<4, here the
	// four-bit code n.
	table := make([]byte, 17)
	table[0], table[4] = 0x10, 15
	for n := range 15 {
		table = append(table, byte(n<<4))
	}
	out = JPEGSegment(out, 0xC4, table)
	var band []byte
	for left := blocks; left > 0; {
		run := min(left, 1<<15-1)
		n := bits.Len(uint(run)) - 1
		band = appendBits(band, uint32(n), 4)
		band = appendBits(band, uint32(run-1<<n), n)
		left -= run
	}
	band = packBits(band)
	for c := range components {
		for range n {
			out = JPEGSegment(out, 0xDA, []byte{1, c + 1, 0, 1, 63, 0})
			out = append(out, band...)
		}
	}
	return append(out, 0xFF, 0xD9)
}

// Bombs returns valid files of w x h pixels of one colour, each a small part of
// what it decodes to.
func Bombs(w, h uint16) map[string][]byte {
	return map[string][]byte{
		"progressive jpeg":      progressive(w, h, 1, 1),
		"progressive cmyk jpeg": progressive(w, h, 4, 1),
		"rgba png":              flatPNG(w, h, 8, false),
		"interlaced rgba png":   flatPNG(w, h, 8, true),
		"16-bit rgba png":       flatPNG(w, h, 16, false),
		"interlaced 16-bit png": flatPNG(w, h, 16, true),
		"lossless webp":         WebPLosslessHeader(uint32(w), uint32(h)),
	}
}

// flatPNG returns a PNG of transparent black.
func flatPNG(w, h uint16, depth byte, interlaced bool) []byte {
	out := PNGHeader(uint32(w), uint32(h), depth, 6)[:33] // without image data
	size := 0
	rows := func(w, h int) {
		if w > 0 {
			size += h * (1 + w*int(depth)/2)
		}
	}
	if interlaced {
		out[28] = 1
		binary.BigEndian.PutUint32(out[29:], crc32.ChecksumIEEE(out[12:29]))
		for _, p := range [][4]int{
			{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2},
		} {
			rows((int(w)-p[0]+p[2]-1)/p[2], (int(h)-p[1]+p[3]-1)/p[3])
		}
	} else {
		rows(int(w), int(h))
	}
	var data bytes.Buffer
	z := zlib.NewWriter(&data)
	block := make([]byte, 1<<20)
	for size > 0 {
		n, err := z.Write(block[:min(size, len(block))])
		must(err)
		size -= n
	}
	must(z.Close())
	return PNGChunk(PNGChunk(out, "IDAT", data.Bytes()), "IEND", nil)
}

func appendBits(to []byte, v uint32, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		to = append(to, byte(v>>i&1))
	}
	return to
}

// packBits packs bits, most significant first, with JPEG's byte stuffing.
func packBits(from []byte) []byte {
	var out []byte
	for group := range slices.Chunk(from, 8) {
		b := byte(0xFF)
		for i, bit := range group {
			if bit == 0 {
				b &^= 0x80 >> i
			}
		}
		if out = append(out, b); b == 0xFF {
			out = append(out, 0)
		}
	}
	return out
}

// WebPLosslessHeader returns a lossless WebP that promises w x h pixels
// (at most 16384 each) of one colour: 44 bytes for up to a gigabyte.
func WebPLosslessHeader(w, h uint32) []byte {
	bits := uint64(w-1) | uint64(h-1)<<14
	data := binary.LittleEndian.AppendUint32([]byte{0x2f}, uint32(bits))
	// No transform, no colour cache, no meta codes, five simple codes of one symbol.
	data = append(data, 0x88, 0x88, 0x08, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	return WebPOf("VP8L", data)
}

// WebPLossyHeader returns a lossy WebP key frame header for w x h pixels (at
// most 16383 each), with little data behind it.
func WebPLossyHeader(w, h uint16) []byte {
	data := []byte{0x10, 0x08, 0, 0x9d, 0x01, 0x2a, byte(w), byte(w >> 8), byte(h), byte(h >> 8)}
	return WebPOf("VP8 ", append(data, make([]byte, 64)...))
}

// WebPExtendedHeader returns an animated WebP whose canvas is w x h pixels (at
// most 2^24 each), and whose only frame is one pixel.
func WebPExtendedHeader(w, h uint32) []byte {
	canvas := []byte{0x02, 0, 0, 0}
	for _, v := range []uint32{w - 1, h - 1} {
		canvas = append(canvas, byte(v), byte(v>>8), byte(v>>16))
	}
	frame := append(make([]byte, 16), WebPLosslessHeader(1, 1)[12:]...)
	out := append(WebPOf("VP8X", canvas), WebPOf("ANMF", frame)[12:]...)
	binary.LittleEndian.PutUint32(out[4:], uint32(len(out)-8))
	return out
}

// WebPOf returns a WebP of one chunk.
func WebPOf(kind string, data []byte) []byte {
	if len(data)%2 == 1 {
		data = append(slices.Clip(data), 0)
	}
	out := binary.LittleEndian.AppendUint32([]byte("RIFF"), uint32(12+len(data)))
	out = binary.LittleEndian.AppendUint32(append(append(out, "WEBP"...), kind...), uint32(len(data)))
	return append(out, data...)
}

// GIFHeader returns a GIF of the given canvas with one frame of fw x fh pixels
// that holds a single pixel.
func GIFHeader(w, h, fw, fh uint16) []byte {
	out := binary.LittleEndian.AppendUint16([]byte("GIF89a"), w)
	out = binary.LittleEndian.AppendUint16(out, h)
	out = append(out, 0x80, 0, 0, 0, 0, 0, 255, 255, 255, 0x2c, 0, 0, 0, 0)
	out = binary.LittleEndian.AppendUint16(out, fw)
	out = binary.LittleEndian.AppendUint16(out, fh)
	return append(out, 0, 2, 2, 0x44, 0x01, 0, 0x3b)
}
