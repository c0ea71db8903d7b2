package jpeg

import "encoding/binary"

// bitReader reads the entropy-coded bits of one segment, most significant bit
// first, up to the next marker. Past the end it gives zeros and counts them:
// whoever reads asks [bitReader.overrun] now and then instead of checking
// every bit.
type bitReader struct {
	data   []byte
	at     int
	acc    uint64
	n      int // valid bits at the low end of acc
	padded int // how many of all bits given so far were invented
}

func (r *bitReader) reset(data []byte, at int) { *r = bitReader{data: data, at: at} }

// fill makes at least 32 bits available.
func (r *bitReader) fill() {
	for r.n <= 32 {
		if r.at+4 <= len(r.data) {
			w := binary.BigEndian.Uint32(r.data[r.at:])
			// No byte of w is 0xFF: the inverse has no zero byte.
			if x := ^w; (x-0x01010101)&w&0x80808080 == 0 {
				r.acc = r.acc<<32 | uint64(w)
				r.n += 32
				r.at += 4
				continue
			}
		}
		r.fillByte()
	}
}

func (r *bitReader) fillByte() {
	var b byte
	switch {
	case r.at >= len(r.data):
		r.padded += 8
	case r.data[r.at] != 0xFF:
		b = r.data[r.at]
		r.at++
	case r.at+1 < len(r.data) && r.data[r.at+1] == 0:
		b = 0xFF
		r.at += 2
	default: // a marker, or a lone 0xFF at the end
		r.padded += 8
	}
	r.acc = r.acc<<8 | uint64(b)
	r.n += 8
}

// overrun reports whether bits were used that the segment does not hold.
func (r *bitReader) overrun() bool { return r.n < r.padded }

// ended reports whether the data ended, rather than a segment before a marker.
func (r *bitReader) ended() bool { return r.at+1 >= len(r.data) }

// bits returns the next n <= 16 bits.
func (r *bitReader) bits(n uint) int32 {
	if r.n < int(n) {
		r.fill()
	}
	r.n -= int(n)
	return int32(r.acc>>uint(r.n)) & (1<<n - 1)
}

// bit returns the next bit.
func (r *bitReader) bit() int32 {
	if r.n < 1 {
		r.fill()
	}
	r.n--
	return int32(r.acc>>uint(r.n)) & 1
}

// extended returns the next n <= 15 bits as a signed value, T.81 figure F.12.
func (r *bitReader) extended(n uint) int32 {
	v := r.bits(n)
	if n > 0 && v < 1<<(n-1) {
		v += -1<<n + 1
	}
	return v
}
