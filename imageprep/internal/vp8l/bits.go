package vp8l

import "encoding/binary"

// reader reads bits, the least significant one first. Behind the end it gives
// zeros; whoever reads asks overrun now and then.
type reader struct {
	data []byte
	at   int    // the first byte that isn't in acc
	acc  uint64 // the next n bits at the bottom, and zeros or the bits that follow above
	n    uint
}

// fill makes at least 56 bits available.
func (r *reader) fill() {
	if r.at+8 <= len(r.data) {
		r.acc |= binary.LittleEndian.Uint64(r.data[r.at:]) << (r.n & 63)
		r.at += int(63-r.n) >> 3
		r.n |= 56
		return
	}
	for r.n < 56 {
		if r.at < len(r.data) {
			r.acc |= uint64(r.data[r.at]) << (r.n & 63)
		}
		r.at++
		r.n += 8
	}
}

// overrun reports whether bits were used that the data does not hold.
func (r *reader) overrun() bool { return 8*(len(r.data)-r.at)+int(r.n) < 0 }

// bits returns the next n <= 32 bits.
func (r *reader) bits(n uint) int {
	if r.n < n {
		r.fill()
	}
	v := r.acc & (1<<n - 1)
	r.acc >>= n
	r.n -= n
	return int(v)
}

func (r *reader) flag() bool { return r.bits(1) == 1 }
