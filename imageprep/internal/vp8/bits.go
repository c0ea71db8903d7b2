package vp8

import "encoding/binary"

// reader is the boolean entropy decoder, RFC 6386 section 7. It asks for eight
// bits before each decision, as the decision depends on so many; behind the end
// it gives zeros and notes it in short.
type reader struct { // in an order that kernels know
	value uint64 // the next n bits at the top, and zeros or bits that follow below
	n     int
	span  uint64 // the range, less 1
	at    int    // the first byte that isn't in value
	data  []byte
	short bool
}

// maxBlock is more than the coefficients of one block can take in bytes, with
// what one load reads ahead.
const maxBlock = 272

// norm and normSpan have, for a range less 1, how far it is to be shifted to
// reach 128, and the shifted range less 1. setNorm and setSpan have the same for
// a range itself.
var norm, normSpan, setNorm, setSpan = normTables()

func normTables() (norm, normSpan, setNorm, setSpan [256]uint8) {
	for i := range norm {
		r, s := i+1, 0
		for ; r < 128; r *= 2 {
			s++
		}
		norm[i], normSpan[i] = uint8(s), uint8(r-1)
		if i < 255 {
			setNorm[i+1], setSpan[i+1] = norm[i], normSpan[i]
		}
	}
	return norm, normSpan, setNorm, setSpan
}

func newReader(data []byte) reader { return reader{data: data, span: 254} }

// fill makes at least eight bits available.
func (r *reader) fill() {
	if r.at+8 <= len(r.data) {
		r.value |= binary.BigEndian.Uint64(r.data[r.at:]) >> r.n
		r.at += (63 - r.n) >> 3
		r.n |= 56
		return
	}
	for r.n < 8 {
		if r.at < len(r.data) {
			r.value |= uint64(r.data[r.at]) << (56 - r.n)
			r.at++
		} else {
			r.short = true
		}
		r.n += 8
	}
}

// bit decodes a decision that is false with a probability of p in 256.
func (r *reader) bit(p uint8) bool {
	if r.n < 8 {
		r.fill()
	}
	split := r.span * uint64(p) >> 8
	most := (split + 1) << 56
	if r.value < most {
		r.value <<= norm[split] & 63
		r.n -= int(norm[split])
		r.span = uint64(normSpan[split])
		return false
	}
	split = r.span - split
	r.value = (r.value - most) << (setNorm[split] & 63)
	r.n -= int(setNorm[split])
	r.span = uint64(setSpan[split])
	return true
}

// flag decodes a decision without a bias.
func (r *reader) flag() bool { return r.bit(128) }

// uint decodes n bits, the most significant one first.
func (r *reader) uint(n int) (v int) {
	for range n {
		v <<= 1
		if r.flag() {
			v |= 1
		}
	}
	return v
}

// signed decodes n bits and a sign.
func (r *reader) signed(n int) int {
	v := r.uint(n)
	if r.flag() {
		return -v
	}
	return v
}

// optional decodes a signed value that may be left out.
func (r *reader) optional(n int) int {
	if r.flag() {
		return r.signed(n)
	}
	return 0
}
