package vp8

import (
	"encoding/binary"
	"math/bits"
)

// Kinds of blocks, section 13.3.
const (
	kindYAfterY2 = iota // luma whose DC coefficient stands in the Y2 block
	kindY2
	kindChroma
	kindY
	kinds
)

const (
	bands      = 8
	contexts   = 3
	tokenNodes = 11
	positions  = 16
)

// kindProbs are the probabilities for one kind of block, by position instead of
// band, with one more position for what follows the last coefficient.
type kindProbs [positions + 1][4][16]uint8

// bandOf gives the band of a position; the one behind the last is never used.
var bandOf = [positions + 1]uint8{0, 1, 2, 3, 6, 4, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 0}

var zigzag = [positions]uint8{0, 1, 4, 8, 5, 2, 3, 6, 9, 12, 13, 10, 7, 11, 14, 15}

// extraProbs are the probabilities of the bits behind the tokens of large
// values, from "cat3" on, section 13.2.
var extraProbs = [4][]uint8{
	{173, 148, 140},
	{176, 155, 140, 135},
	{180, 157, 141, 134, 130},
	{254, 254, 243, 230, 196, 177, 153, 140, 133, 130, 129},
}

// The first blocks of chroma, and Y2's.
const (
	blockCb = 16
	blockY2 = 24
)

// aboveOf and leftOf have, for each block, which of the blocks beside the
// macroblock lies above it and to its left.
var (
	aboveOf = [blockY2 + 1]uint8{0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 4, 5, 6, 7, 6, 7, besideY2}
	leftOf  = [blockY2 + 1]uint8{0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, besideY2}
)

// blocksPortable is blocks for every processor.
func (r *reader) blocksPortable(
	p *kindProbs, steps *[2]int32, above, left *nonzero, out *[25 * 16]int16, first, from, to int,
) (coded blocks) {
	for i := from; i < to; i++ {
		a, l := &above[aboveOf[i]], &left[leftOf[i]]
		n := r.coefficients(p, int(*a+*l), first, steps, (*[16]int16)(out[16*i:]))
		*a, *l = 0, 0
		if n > first {
			*a, *l = 1, 1
			coded |= 1 << i
		}
	}
	return coded
}

// coefficients decodes one block from position first on, times the steps, into
// zeros. It returns the position behind the last token, 0 or first for none.
func (r *reader) coefficients(p *kindProbs, ctx, first int, steps *[2]int32, out *[16]int16) int {
	if len(r.data)-r.at >= maxBlock {
		return r.coefficientsAhead(p, ctx, first, steps, out)
	}
	return r.coefficientsNearEnd(p, ctx, first, steps, out)
}

// coefficientsNearEnd is the plain way, which looks at the end before every
// decision.
func (r *reader) coefficientsNearEnd(p *kindProbs, ctx, first int, steps *[2]int32, out *[16]int16) int {
	probs := &p[first][ctx]
	for i := first; i < positions; i++ {
		if !r.bit(probs[0]) {
			return i
		}
		for !r.bit(probs[1]) {
			if i++; i == positions {
				return positions
			}
			probs = &p[i][0]
		}
		v := int32(1)
		if !r.bit(probs[2]) {
			probs = &p[i+1][1]
		} else {
			v = r.large(probs)
			probs = &p[i+1][2]
		}
		if r.flag() {
			v = -v
		}
		out[zigzag[i]] = int16(v * steps[min(i, 1)])
	}
	return positions
}

// large decodes a value of 2 or more.
func (r *reader) large(probs *[16]uint8) int32 {
	if !r.bit(probs[3]) {
		if !r.bit(probs[4]) {
			return 2
		}
		return 3 + r.one(probs[5])
	}
	if !r.bit(probs[6]) {
		if !r.bit(probs[7]) {
			return 5 + r.one(159)
		}
		return 7 + 2*r.one(165) + r.one(145)
	}
	category := 2 * r.one(probs[8])
	category += r.one(probs[9+category/2])
	v := int32(0)
	for _, p := range extraProbs[category] {
		v = 2*v + r.one(p)
	}
	return v + 3 + 8<<category
}

func (r *reader) one(p uint8) int32 {
	if r.bit(p) {
		return 1
	}
	return 0
}

// coefficientsAhead does the same where the end is far away, with the reader's
// state in registers and a load for each token instead of a look before each
// decision. A token before its sign takes at most 21 bits, a sign 1.
func (r *reader) coefficientsAhead(p *kindProbs, ctx, first int, steps *[2]int32, out *[16]int16) int {
	value, span, n, at := r.value, r.span, r.n, r.at
	data := r.data
	probs := &p[first][ctx]
	step := steps[min(first, 1)]
	i := first
	for {
		if n < 32 {
			value |= binary.BigEndian.Uint64(data[at:]) >> (uint(n) & 63)
			at += (63 - n) >> 3
			n |= 56
		}
		// Is there another coefficient?
		split := span * uint64(probs[0]) >> 8
		most := (split + 1) << 56
		if value < most {
			value <<= norm[split] & 63
			n -= int(norm[split])
			span = uint64(normSpan[split])
			break
		}
		split = span - split
		value = (value - most) << (setNorm[split] & 63)
		n -= int(setNorm[split])
		span = uint64(setSpan[split])
		// Is it zero?
		for {
			split = span * uint64(probs[1]) >> 8
			most = (split + 1) << 56
			if value >= most {
				break
			}
			value <<= norm[split] & 63
			n -= int(norm[split])
			span = uint64(normSpan[split])
			step = steps[1]
			if i++; i == positions {
				goto done
			}
			probs = &p[i&31][0]
			if n < 32 {
				value |= binary.BigEndian.Uint64(data[at:]) >> (uint(n) & 63)
				at += (63 - n) >> 3
				n |= 56
			}
		}
		split = span - split
		value = (value - most) << (setNorm[split] & 63)
		n -= int(setNorm[split])
		span = uint64(setSpan[split])
		// Is it one?
		v := int32(1)
		split = span * uint64(probs[2]) >> 8
		most = (split + 1) << 56
		if value < most {
			value <<= norm[split] & 63
			n -= int(norm[split])
			span = uint64(normSpan[split])
			probs = &p[i+1][1]
		} else {
			split = span - split
			value = (value - most) << (setNorm[split] & 63)
			n -= int(setNorm[split])
			span = uint64(setSpan[split])
			r.value, r.span, r.n, r.at = value, span, n, at
			v = r.large(probs)
			if r.n < 8 {
				r.fill()
			}
			value, span, n, at = r.value, r.span, r.n, r.at
			probs = &p[i+1][2]
		}
		// The sign, without a branch: both halves shift by one.
		split = span >> 1
		most = (split + 1) << 56
		_, less := bits.Sub64(value, most, 0)
		negative := less - 1
		value = (value - most&negative) << 1
		span = (span + negative) | 1
		n--
		v = (v ^ int32(negative)) - int32(negative)
		out[zigzag[i&15]] = int16(v * step)
		step = steps[1]
		if i++; i == positions {
			break
		}
	}
done:
	r.value, r.span, r.n, r.at = value, span, n, at
	return i
}
