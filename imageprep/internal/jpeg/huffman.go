package jpeg

import "fmt"

// huffmanSpec is a table as the file gives it. The table for decoding is built
// when a scan first uses it, so a file full of tables costs no more than its
// bytes.
type huffmanSpec struct {
	counts  [16]uint8
	symbols []byte
	built   *huffman
}

const lookBits = 10

// huffman decodes codes of up to lookBits bits by one look-up and longer ones
// by the first code of each length, T.81 F.2.2.3.
type huffman struct {
	// whole holds what fits into lookBits bits with its value: the length of
	// both in bits 0 to 7, the run in bits 8 to 15, the value from bit 16 on.
	// 0: none. The run of an end of block is endOfBlock.
	whole   [1 << lookBits]int32
	look    [1 << lookBits]uint16 // length<<8 | symbol; 0: longer
	limit   [18]uint32            // for each length the first 16 bits that no code of it begins with; 17: none left
	offset  [17]int32             // index of a code's symbol minus the code
	symbols []byte
}

// endOfBlock leads out of any block.
const endOfBlock = 64

func (s *huffmanSpec) build(ac bool) (*huffman, error) {
	if s.built != nil {
		return s.built, nil
	}
	h := &huffman{symbols: s.symbols}
	code, index := int32(0), int32(0)
	for length := 1; length <= 16; length++ {
		n := int32(s.counts[length-1])
		if code+n > 1<<length {
			return nil, fmt.Errorf("%w: Huffman code too long", ErrCorrupt)
		}
		h.offset[length], h.limit[length] = index-code, uint32(code+n)<<(16-length)
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
	h.limit[17] = 1 << 16
	h.findWhole(ac)
	s.built = h
	return h, nil
}

// findWhole looks for codes whose value lies within the same lookBits bits. A
// symbol of an AC table is a run and the size of a value, one of a DC table a
// size alone.
func (h *huffman) findWhole(ac bool) {
	for bits, e := range h.look {
		length, size, run := uint(e>>8), uint(e&15), int32(e>>4&15)
		switch {
		case e == 0, length+size > lookBits, !ac && run != 0, ac && size == 0 && run != 0:
			continue
		case ac && size == 0:
			run = endOfBlock
		}
		v := extend(int32(bits>>(lookBits-length-size))&(1<<size-1), size)
		h.whole[bits] = v<<16 | run<<8 | int32(length+size)
	}
}

// long finds a code of more than lookBits bits at the top of acc.
func (h *huffman) long(acc uint64) (symbol byte, length uint, ok bool) {
	bits := uint32(acc >> 48)
	length = lookBits + 1
	for bits >= h.limit[length] {
		length++
	}
	if length > 16 {
		return 0, 0, false
	}
	return h.symbols[h.offset[length]+int32(bits>>(16-length))], length, true
}

// decode returns the next symbol, or false for a code that is not in the table.
func (r *bitReader) decode(h *huffman) (byte, bool) {
	if r.n < 16 {
		r.fill()
	}
	e := h.look[r.acc>>(64-lookBits)]
	symbol, length, ok := byte(e), uint(e>>8), true
	if e == 0 {
		symbol, length, ok = h.long(r.acc)
	}
	r.acc <<= length
	r.n -= length
	return symbol, ok
}
