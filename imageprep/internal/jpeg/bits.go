package jpeg

import (
	"bytes"
	"encoding/binary"
)

// bitReader reads the bits of one segment of entropy-coded data, most
// significant bit first. The data is a copy without the stuffing, so that
// reading ahead is one load and no decision. Behind the end it gives zeros;
// whoever reads asks [bitReader.overrun] now and then instead of checking
// every bit.
type bitReader struct {
	data  []byte // with readAhead zeros behind it
	size  int    // of data without these
	at    int    // the first byte that isn't in acc
	acc   uint64 // the next n bits at the top, and zeros or the bits that follow below
	n     uint
	ended bool // whether the file ended, rather than the segment before a marker
}

// readAhead is how many bytes one load reads.
const readAhead = 8

// unstuff copies the segment at the beginning of src to dst, which has room for
// src and readAhead bytes. It returns the copy with readAhead zeros behind it,
// the length of the segment in src, and whether src ended without a marker.
func unstuff(dst, src []byte) (segment []byte, length int, ended bool) {
	n, at := 0, 0
	for {
		i := bytes.IndexByte(src[at:], 0xFF)
		if i < 0 {
			n += copy(dst[n:], src[at:])
			at, ended = len(src), true
			break
		}
		n += copy(dst[n:], src[at:at+i])
		at += i
		if at+1 == len(src) {
			ended = true
			break
		}
		if src[at+1] != 0 {
			break
		}
		dst[n] = 0xFF
		n, at = n+1, at+2
	}
	segment = dst[:n+readAhead]
	clear(segment[n:])
	return segment, at, ended
}

func (r *bitReader) reset(segment []byte, ended bool) {
	*r = bitReader{data: segment, size: len(segment) - readAhead, ended: ended}
}

// fill makes at least 56 bits available.
func (r *bitReader) fill() {
	if r.at+readAhead <= len(r.data) {
		r.acc |= binary.BigEndian.Uint64(r.data[r.at:]) >> r.n
	}
	r.at += int(63-r.n) >> 3
	r.n |= 56
}

// left is how many bits of the segment weren't used; negative: too many were.
func (r *bitReader) left() int { return 8*(r.size-r.at) + int(r.n) }

// overrun reports whether bits were used that the segment does not hold.
func (r *bitReader) overrun() bool { return r.left() < 0 }

// bits returns the next n <= 16 bits.
func (r *bitReader) bits(n uint) int32 {
	if r.n < n {
		r.fill()
	}
	v := int32(r.acc >> (64 - n))
	r.acc <<= n
	r.n -= n
	return v
}

// extended returns the next size <= 15 bits as a signed value, T.81 figure F.12.
func (r *bitReader) extended(size uint) int32 { return extend(r.bits(size), size) }

func extend(v int32, size uint) int32 {
	if size > 0 && v < 1<<(size-1) {
		v += -1<<size + 1
	}
	return v
}
