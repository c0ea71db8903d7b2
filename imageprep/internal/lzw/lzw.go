// Package lzw decodes the LZW of GIF into a buffer of known size. The standard
// library's reader takes the data byte by byte through an interface, and has no
// codes of more than eight bits for a pixel.
package lzw

import (
	"context"
	"encoding/binary"
	"errors"
)

// What can be wrong with the data.
var (
	ErrCode  = errors.New("lzw: a code that does not exist")
	ErrShort = errors.New("lzw: the data ends before the pixels do")
)

// MinBits and MaxBits bound the code size that a file begins with, less one.
// The format has 2 to 8, and Pillow reads these: GIFs of one pixel exist with 1.
const (
	MinBits = 0
	MaxBits = 12
)

// ReadAhead is how many bytes must lie behind the data.
const ReadAhead = 8

const maxWidth = 12 // codes don't grow beyond it; those of MaxBits are wider from the start

// Decode fills dst from data of a code size, [MinBits] to [MaxBits]. Behind data
// lie [ReadAhead] bytes of any content within its capacity. What follows the
// last pixel is not looked at. Of a pixel of more than eight bits the low byte
// stays, as in Pillow. It looks at ctx every thousand codes.
//
// A string of the table is a place in dst: it was written when its first part
// was, and the byte behind it is its last.
func Decode(ctx context.Context, dst, data []byte, bits int) error {
	if bits < MinBits || bits > MaxBits {
		return ErrCode
	}
	src := data[:len(data)+ReadAhead]
	clear, end := uint32(1)<<bits, uint32(1)<<bits+1
	var table [1 << maxWidth]struct{ at, n int32 }
	var (
		acc       uint64
		have      uint
		at, out   int
		width     = uint(bits) + 1
		next      = end + 1
		last      int // where the string of the code before lies; lastLen 0: there is none
		lastLen   int
		bitsTotal = 8 * len(data)
		used      int
	)
	for count := 0; out < len(dst); count++ {
		if count%1024 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		if have < MaxBits+1 {
			if at < len(data) {
				acc |= binary.LittleEndian.Uint64(src[at:]) << have
			}
			at += int(63-have) >> 3
			have |= 56
		}
		code := uint32(acc) & (1<<width - 1)
		acc >>= width
		have -= width
		if used += int(width); used > bitsTotal {
			return ErrShort
		}
		begin, n := out, 0
		switch {
		case code < clear:
			dst[out] = byte(code)
			out, n = out+1, 1
		case code == clear:
			width, next, lastLen = uint(bits)+1, end+1, 0
			continue
		case code == end:
			return ErrShort
		case code < next:
			from := int(table[code].at)
			n = int(table[code].n)
			if n <= 8 && out+8 <= len(dst) {
				// What is written behind the string is written again.
				binary.LittleEndian.PutUint64(dst[out:], binary.LittleEndian.Uint64(dst[from:]))
			} else {
				copy(dst[out:], dst[from:from+n])
			}
			out += n
		case code == next && lastLen > 0 && next < 1<<maxWidth: // the string before, and its first pixel again
			n = lastLen + 1
			copy(dst[out:], dst[last:last+lastLen])
			if out+lastLen < len(dst) {
				dst[out+lastLen] = dst[last]
			}
			out += n
		default:
			return ErrCode
		}
		if lastLen > 0 && next < 1<<maxWidth {
			table[next].at, table[next].n = int32(last), int32(lastLen+1)
			if next++; next == 1<<width && width < maxWidth {
				width++
			}
		}
		last, lastLen = begin, n
	}
	return nil
}
