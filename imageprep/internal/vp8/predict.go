package vp8

import "encoding/binary"

// Prediction, section 12. Planes have a border of what stands for samples
// outside the picture, so that only DC prediction has to know the edges.

// predictSquare predicts a square of luma or chroma with side samples at p.at.
func predictSquare(pix []byte, at, stride, side int, mode uint8, hasLeft, hasTop bool) {
	above := pix[at-stride-1:][: side+1 : side+1] // the corner first
	switch mode {
	case modeDC:
		v := squareDC(pix, at, stride, side, hasLeft, hasTop)
		for y := range side {
			row := pix[at+y*stride:][:side]
			for x := 0; x < side; x += 8 {
				binary.LittleEndian.PutUint64(row[x:], uint64(v)*ones)
			}
		}
	case modeVE:
		for y := range side {
			copy(pix[at+y*stride:][:side], above[1:])
		}
	case modeHE:
		for y := range side {
			row := pix[at+y*stride-1:][:side+1]
			v := uint64(row[0]) * ones
			for x := 1; x < side; x += 8 {
				binary.LittleEndian.PutUint64(row[x:], v)
			}
		}
	default:
		predictTM(pix, at, stride, side)
	}
}

// squareDC is the mean of the samples above and to the left that there are.
func squareDC(pix []byte, at, stride, side int, hasLeft, hasTop bool) byte {
	sum, n := 0, 0
	if hasTop {
		for _, v := range pix[at-stride:][:side] {
			sum += int(v)
		}
		n += side
	}
	if hasLeft {
		for y := range side {
			sum += int(pix[at-1+y*stride])
		}
		n += side
	}
	if n == 0 {
		return 128
	}
	return byte((sum + n/2) / n)
}

// predictTMPortable adds to the sample at the left the difference of those
// above, "TrueMotion".
func predictTMPortable(pix []byte, at, stride, side int) {
	above := pix[at-stride-1:][:side+1]
	corner := int32(above[0])
	for y := range side {
		row := pix[at+y*stride-1:][:side+1]
		d := int32(row[0]) - corner
		for x := 1; x <= side; x++ {
			row[x] = clip(int32(above[x]) + d)
		}
	}
}

const ones = 0x0101010101010101

// halve and mean give the mean of each byte of two words, rounded down and up.
func halve(a, b uint64) uint64 { return a&b + (a^b)>>1&(0x7f*ones) }
func mean(a, b uint64) uint64  { return a | b - (a^b)>>1&(0x7f*ones) }

// smooth is (a+2*b+c+2)/4 of each byte.
func smooth(a, b, c uint64) uint64 { return mean(b, halve(a, c)) }

// predictBlock predicts a 4x4 block at pix[at:]. right are the four samples
// above and to the right of it. The modes but the first four follow one edge:
// from the left side's lowest sample up to the corner, and on to the right.
func predictBlock(pix []byte, at, stride int, mode uint8, right uint32) {
	top := pix[at-stride-1:][:5]
	r0, r1, r2, r3 := pix[at-1:][:5], pix[at+stride-1:][:5], pix[at+2*stride-1:][:5], pix[at+3*stride-1:][:5]
	corner := uint64(top[0])
	above := uint64(binary.LittleEndian.Uint32(top[1:]))
	l0, l1, l2, l3 := uint64(r0[0]), uint64(r1[0]), uint64(r2[0]), uint64(r3[0])
	var v0, v1, v2, v3 uint32
	switch mode {
	case modeDC:
		sum := l0 + l1 + l2 + l3 + 4
		sum += above&0xff + above>>8&0xff + above>>16&0xff + above>>24
		v0 = uint32(sum>>3) * 0x01010101
		v1, v2, v3 = v0, v0, v0
	case modeTM:
		for _, row := range [4][]byte{r0, r1, r2, r3} {
			d := int32(row[0]) - int32(corner)
			row[1], row[2], row[3], row[4] = clip(int32(top[1])+d), clip(int32(top[2])+d), clip(int32(top[3])+d),
				clip(int32(top[4])+d)
		}
		return
	case modeVE:
		v0 = uint32(smooth(above<<8|corner, above, above>>8|uint64(right)<<24))
		v1, v2, v3 = v0, v0, v0
	case modeHE:
		left := l0 | l1<<8 | l2<<16 | l3<<24
		v := uint32(smooth(left<<8|corner, left, left>>8|l3<<24))
		v0, v1, v2, v3 = v&0xff*0x01010101, v>>8&0xff*0x01010101, v>>16&0xff*0x01010101, v>>24*0x01010101
	case modeLD:
		e := above | uint64(right)<<32
		v := smooth(e, e>>8|e>>56<<56, e>>16|e>>56*0x0101<<48)
		v0, v1, v2, v3 = uint32(v), uint32(v>>8), uint32(v>>16), uint32(v>>24)
	case modeRD:
		e := l3 | l2<<8 | l1<<16 | l0<<24 | corner<<32 | above<<40
		v := smooth(e, e>>8|above>>24<<56, e>>16|above>>24<<48)
		v0, v1, v2, v3 = uint32(v>>24), uint32(v>>16), uint32(v>>8), uint32(v)
	case modeVR:
		e := l2 | l1<<8 | l0<<16 | corner<<24 | above<<32
		v := smooth(e, e>>8, e>>16)
		v0, v1 = uint32(mean(e, e>>8)>>24), uint32(v>>16)
		v2, v3 = v0<<8|uint32(v)>>8&0xff, v1<<8|uint32(v)&0xff
	case modeVL:
		e := above | uint64(right)<<32
		m, v := mean(e, e>>8), smooth(e, e>>8, e>>16)
		v0, v1 = uint32(m), uint32(v)
		v2, v3 = v0>>8|uint32(v>>32)<<24, v1>>8|uint32(v>>40)<<24
	case modeHD:
		e := l3 | l2<<8 | l1<<16 | l0<<24 | corner<<32 | above<<40
		m, v := mean(e, e>>8), smooth(e, e>>8, e>>16)
		pairs := interleave(uint32(m), uint32(v))
		v3, v2, v1 = uint32(pairs), uint32(pairs>>16), uint32(pairs>>32)
		v0 = uint32(pairs>>48) | uint32(v>>32)<<16
	default: // modeHU
		e := l0 | l1<<8 | l2<<16 | l3*0x0101010101<<24
		pairs := interleave(uint32(mean(e, e>>8)), uint32(smooth(e, e>>8, e>>16)))
		v0, v1, v2, v3 = uint32(pairs), uint32(pairs>>16), uint32(pairs>>32), uint32(pairs>>48)
		v3 = v3&0xffff | uint32(l3)*0x01010000
	}
	binary.LittleEndian.PutUint32(r0[1:], v0)
	binary.LittleEndian.PutUint32(r1[1:], v1)
	binary.LittleEndian.PutUint32(r2[1:], v2)
	binary.LittleEndian.PutUint32(r3[1:], v3)
}

// interleave gives the bytes of a and b in turns.
func interleave(a, b uint32) uint64 { return spread(a) | spread(b)<<8 }

func spread(v uint32) uint64 {
	w := uint64(v)
	w = (w | w<<16) & 0x0000ffff0000ffff
	return (w | w<<8) & 0x00ff00ff00ff00ff
}
