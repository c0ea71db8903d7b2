package jpeg

import "fmt"

// huffmanSpec is a table as the file gives it. The tables for decoding are
// built when a scan starts, so a file full of tables costs no more than its
// bytes.
type huffmanSpec struct {
	counts  [16]uint8
	symbols []byte
}

const lookBits = 9

// huffman decodes codes of up to lookBits bits by one look-up and longer ones
// bit by bit, T.81 F.2.2.3.
type huffman struct {
	look [1 << lookBits]uint16 // length<<8 | symbol; 0: longer
	// whole holds the AC codes that fit with their value:
	// value<<16 | run<<8 | length of both; 0: none.
	whole   [1 << lookBits]int32
	maxCode [17]int32 // largest code of each length, -1: none
	offset  [17]int32 // index of a code's symbol minus the code
	symbols []byte
}

func (s *huffmanSpec) build() (*huffman, error) {
	h := &huffman{symbols: s.symbols}
	code, index := int32(0), int32(0)
	for length := 1; length <= 16; length++ {
		n := int32(s.counts[length-1])
		if code+n > 1<<length {
			return nil, fmt.Errorf("%w: Huffman code too long", ErrCorrupt)
		}
		h.offset[length], h.maxCode[length] = index-code, code+n-1
		if n == 0 {
			h.maxCode[length] = -1
		}
		if length <= lookBits {
			for i := range n {
				entry := uint16(length)<<8 | uint16(s.symbols[index+i])
				first := (code + i) << (lookBits - length)
				for j := range int32(1) << (lookBits - length) {
					h.look[first+j] = entry
				}
			}
		}
		code, index = (code+n)<<1, index+n
	}
	h.findWhole()
	return h, nil
}

// findWhole looks for codes whose value lies within the same lookBits bits.
func (h *huffman) findWhole() {
	for bits, e := range h.look {
		length, size, run := int(e>>8), int(e&15), int32(e>>4&15)
		if e == 0 || size == 0 || length+size > lookBits {
			continue
		}
		v := int32(bits>>(lookBits-length-size)) & (1<<size - 1)
		if v < 1<<(size-1) {
			v += -1<<size + 1
		}
		h.whole[bits] = v<<16 | run<<8 | int32(length+size)
	}
}

// decode returns the next symbol, or false for a code that is not in the table.
func (r *bitReader) decode(h *huffman) (byte, bool) {
	if r.n < 16 {
		r.fill()
	}
	if e := h.look[r.acc>>uint(r.n-lookBits)&(1<<lookBits-1)]; e != 0 {
		r.n -= int(e >> 8)
		return byte(e), true
	}
	for length := lookBits + 1; length <= 16; length++ {
		code := int32(r.acc>>uint(r.n-length)) & (1<<length - 1)
		if code <= h.maxCode[length] {
			r.n -= length
			return h.symbols[h.offset[length]+code], true
		}
	}
	return 0, false
}
