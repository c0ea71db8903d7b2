package imageprep

import (
	"compress/zlib"
	"context"
	"encoding/binary"
	"errors"
	"hash"
	"hash/adler32"
	"hash/crc32"
	"io"
)

// pngStream is a PNG with its faults after the last pixel left out, for
// image/png, which refuses a file for any of them: surplus rows, a missing
// Adler-32, a missing or damaged IEND, anything else after the image data.
// Chunks before the image data come through as they are. The image data is
// inflated, checked as far as the pixels go, and framed anew in stored blocks,
// so that nothing is held in memory but a block.
//
// A checksum that is there and wrong is an error, as it is to image/png: the
// CRC of an image data chunk, or the Adler-32 of exactly as many rows as the
// header promises.
type pngStream struct {
	ctx   context.Context // for the length of one decode
	ready []byte          // what the next Reads return
	chunk []byte          // the memory of ready
	rows  io.Reader       // inflated image data; nil before the first chunk of it
	idat  *idatReader
	left  int64 // bytes of the rows still to come
	sum   hash.Hash32
	block []byte
	done  bool
}

// pngBlock is how many bytes of rows go into one stored block; it holds 65,535
// at most.
const pngBlock = 32 << 10

var errPNGChecksum = errors.New("png: wrong CRC of an IDAT chunk")

// newPNGStream reads data, whose header h sniffPNG has found sound.
func newPNGStream(ctx context.Context, data []byte, h Header) *pngStream {
	start := len(pngMagic)
	for rest := data[start:]; ; rest = data[start:] {
		kind, n := pngChunk(rest)
		if kind == "IDAT" || n < 0 || int64(len(rest)) <= n {
			break
		}
		start += int(n)
	}
	s := &pngStream{ctx: ctx, idat: &idatReader{data: data[start:]}, left: pngRawBytes(h), sum: adler32.New()}
	s.ready = data[:start]
	return s
}

// pngChunk returns the kind of the chunk that b begins with and its length
// with its frame, or -1 where b holds no frame.
func pngChunk(b []byte) (kind string, n int64) {
	if len(b) < 8 {
		return "", -1
	}
	return string(b[4:8]), int64(binary.BigEndian.Uint32(b)) + 12
}

// pngRawBytes is the length of the inflated rows, each with its filter's byte.
func pngRawBytes(h Header) int64 {
	rows := func(w, ht int) int64 {
		if w == 0 {
			return 0
		}
		return int64(ht) * (1 + (int64(w)*int64(h.Bits)*int64(h.Channels)+7)/8)
	}
	if !h.Progressive {
		return rows(h.Width, h.Height)
	}
	n := int64(0)
	for _, p := range []struct{ x, y, dx, dy int }{
		{0, 0, 8, 8}, {4, 0, 8, 8}, {0, 4, 4, 8}, {2, 0, 4, 4}, {0, 2, 2, 4}, {1, 0, 2, 2}, {0, 1, 1, 2},
	} {
		n += rows((h.Width-p.x+p.dx-1)/p.dx, (h.Height-p.y+p.dy-1)/p.dy)
	}
	return n
}

// Read implements io.Reader.
func (s *pngStream) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	for len(s.ready) == 0 {
		if s.done {
			return 0, io.EOF
		}
		if err := s.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p[:min(len(p), readAtMost)], s.ready)
	s.ready = s.ready[n:]
	return n, nil
}

// fill makes the next chunk ready.
func (s *pngStream) fill() error {
	s.chunk = append(s.chunk[:0], "\x00\x00\x00\x00IDAT"...)
	if s.rows == nil {
		var err error
		if s.rows, err = zlib.NewReader(s.idat); err != nil {
			return err
		}
		s.block = make([]byte, min(s.left, pngBlock))
		s.chunk = append(s.chunk, 0x78, 0x01)
	}
	n, err := io.ReadFull(s.rows, s.block[:min(s.left, pngBlock)])
	if err != nil {
		return err
	}
	s.left -= int64(n)
	_, _ = s.sum.Write(s.block[:n])
	final := byte(0)
	if s.left == 0 {
		if err := s.checkEnd(); err != nil {
			return err
		}
		final, s.done = 1, true
	}
	s.chunk = binary.LittleEndian.AppendUint16(append(s.chunk, final), uint16(n))
	s.chunk = append(binary.LittleEndian.AppendUint16(s.chunk, ^uint16(n)), s.block[:n]...)
	if s.done {
		s.chunk = s.sum.Sum(s.chunk)
	}
	binary.BigEndian.PutUint32(s.chunk, uint32(len(s.chunk)-8))
	s.chunk = binary.BigEndian.AppendUint32(s.chunk, crc32.ChecksumIEEE(s.chunk[4:]))
	if s.done {
		s.chunk = append(s.chunk, "\x00\x00\x00\x00IEND\xae\x42\x60\x82"...)
	}
	s.ready = s.chunk
	return nil
}

// checkEnd looks at what follows the last pixel. That it is longer or shorter
// than it should be takes nothing from the pixels.
func (s *pngStream) checkEnd() error {
	_, err := io.ReadFull(s.rows, make([]byte, 1))
	if err == nil || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return nil
	}
	return err
}

// idatReader reads the bodies of consecutive IDAT chunks. The last one may be
// cut short, and then has no CRC to check.
type idatReader struct {
	data []byte // from the next chunk on
	body []byte // what is left of this one
}

// ReadByte implements io.ByteReader, so that zlib reads no further than it
// needs to.
func (r *idatReader) ReadByte() (byte, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	b := r.body[0]
	r.body = r.body[1:]
	return b, nil
}

// Read implements io.Reader.
func (r *idatReader) Read(p []byte) (int, error) {
	if err := r.fill(); err != nil {
		return 0, err
	}
	n := copy(p, r.body)
	r.body = r.body[n:]
	return n, nil
}

func (r *idatReader) fill() error {
	for len(r.body) == 0 {
		kind, n := pngChunk(r.data)
		if kind != "IDAT" {
			return io.EOF
		}
		if n > int64(len(r.data)) {
			r.body, r.data = r.data[8:min(int64(len(r.data)), n-4)], nil
			continue
		}
		if crc32.ChecksumIEEE(r.data[4:n-4]) != binary.BigEndian.Uint32(r.data[n-4:]) {
			return errPNGChecksum
		}
		r.body, r.data = r.data[8:n-4], r.data[n:]
	}
	return nil
}
