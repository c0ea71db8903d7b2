package jpeg

import "encoding/binary"

// Constants of the Loeffler-Ligtenberg-Moschytz algorithm in 13-bit fixed
// point, as in libjpeg's jidctint.c.
const (
	constBits = 13
	passBits  = 2

	fix0298631336 = 2446
	fix0390180644 = 3196
	fix0541196100 = 4433
	fix0765366865 = 6270
	fix0899976223 = 7373
	fix1175875602 = 9633
	fix1501321110 = 12299
	fix1847759065 = 15137
	fix1961570560 = 16069
	fix2053119869 = 16819
	fix2562915447 = 20995
	fix3072711026 = 25172
)

// butterfly is one dimension of the transform: eight coefficients in, the even
// and odd halves out, scaled up by 2^constBits.
func butterfly(c0, c1, c2, c3, c4, c5, c6, c7 int32) (e0, e1, e2, e3, o0, o1, o2, o3 int32) {
	z1 := (c2 + c6) * fix0541196100
	t2 := z1 - c6*fix1847759065
	t3 := z1 + c2*fix0765366865
	t0 := (c0 + c4) << constBits
	t1 := (c0 - c4) << constBits
	e0, e3, e1, e2 = t0+t3, t0-t3, t1+t2, t1-t2

	z5 := (c7 + c3 + c5 + c1) * fix1175875602
	z3 := z5 - (c7+c3)*fix1961570560
	z4 := z5 - (c5+c1)*fix0390180644
	z1 = (c7 + c1) * -fix0899976223
	z2 := (c5 + c3) * -fix2562915447
	o3 = c7*fix0298631336 + z1 + z3
	o2 = c5*fix2053119869 + z2 + z4
	o1 = c3*fix3072711026 + z2 + z3
	o0 = c1*fix1501321110 + z1 + z4
	return e0, e1, e2, e3, o0, o1, o2, o3
}

// inverseDCTPortable dequantises block and writes its 8x8 samples to dst. The
// sums wrap around only for coefficients that no encoder writes.
func inverseDCTPortable(block *[64]int16, q *quantTable, dst []byte, stride int) {
	var ws [64]int32
	const round1 = 1 << (constBits - passBits - 1)
	const shift1 = constBits - passBits
	for i := range 8 {
		c0 := int32(block[i]) * q[i]
		if block[8+i]|block[16+i]|block[24+i]|block[32+i]|block[40+i]|block[48+i]|block[56+i] == 0 {
			for r := i; r < 64; r += 8 {
				ws[r] = (c0<<constBits + round1) >> shift1
			}
			continue
		}
		e0, e1, e2, e3, o0, o1, o2, o3 := butterfly(c0,
			int32(block[8+i])*q[8+i], int32(block[16+i])*q[16+i], int32(block[24+i])*q[24+i], int32(block[32+i])*q[32+i],
			int32(block[40+i])*q[40+i], int32(block[48+i])*q[48+i], int32(block[56+i])*q[56+i])
		ws[i], ws[56+i] = (e0+o0+round1)>>shift1, (e0-o0+round1)>>shift1
		ws[8+i], ws[48+i] = (e1+o1+round1)>>shift1, (e1-o1+round1)>>shift1
		ws[16+i], ws[40+i] = (e2+o2+round1)>>shift1, (e2-o2+round1)>>shift1
		ws[24+i], ws[32+i] = (e3+o3+round1)>>shift1, (e3-o3+round1)>>shift1
	}
	// 128 is the level shift, put under the rounding.
	const shift2 = constBits + passBits + 3
	const round2 = 1<<(shift2-1) + 128<<shift2
	for r := range 8 {
		w := (*[8]int32)(ws[8*r:])
		out := (*[8]byte)(dst[r*stride:])
		e0, e1, e2, e3, o0, o1, o2, o3 := butterfly(w[0], w[1], w[2], w[3], w[4], w[5], w[6], w[7])
		out[0], out[7] = clamp((e0+o0+round2)>>shift2), clamp((e0-o0+round2)>>shift2)
		out[1], out[6] = clamp((e1+o1+round2)>>shift2), clamp((e1-o1+round2)>>shift2)
		out[2], out[5] = clamp((e2+o2+round2)>>shift2), clamp((e2-o2+round2)>>shift2)
		out[3], out[4] = clamp((e3+o3+round2)>>shift2), clamp((e3-o3+round2)>>shift2)
	}
}

func clamp(v int32) byte {
	if uint32(v) <= 255 {
		return byte(v)
	}
	if v < 0 {
		return 0
	}
	return 255
}

// flat writes the samples of a block that has no other coefficient than dc,
// which is dequantised.
func flat(dc int32, dst []byte, stride, size int) {
	const shift1 = constBits - passBits
	const shift2 = constBits + passBits + 3
	w := (dc<<constBits + 1<<(shift1-1)) >> shift1
	v := clamp((w<<constBits + 1<<(shift2-1) + 128<<shift2) >> shift2)
	eight := uint64(v) * 0x0101010101010101
	switch size {
	case 8:
		for r := range 8 {
			binary.LittleEndian.PutUint64(dst[r*stride:], eight)
		}
	case 4:
		for r := range 4 {
			binary.LittleEndian.PutUint32(dst[r*stride:], uint32(eight))
		}
	case 2:
		binary.LittleEndian.PutUint16(dst, uint16(eight))
		binary.LittleEndian.PutUint16(dst[stride:], uint16(eight))
	default:
		dst[0] = v
	}
}

// inverseDCT dequantises a block and writes its samples.
func (c *component) inverseDCT(block *[64]int16, dst []byte) {
	switch c.size {
	case 8:
		inverseDCT(block, c.quant, dst, c.stride())
	case 4:
		inverseDCT4(block, c.quant, dst, c.stride())
	case 2:
		inverseDCT2(block, c.quant, dst, c.stride())
	default:
		flat(int32(block[0])*c.quant[0], dst, c.stride(), 1)
	}
}
