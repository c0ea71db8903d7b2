package jpeg

// Constants of libjpeg's jidctred.c, 13 bits.
const (
	fix0211164243 = 1730
	fix0509795579 = 4176
	fix0601344887 = 4926
	fix0720959822 = 5906
	fix0850430095 = 6967
	fix1061594337 = 8697
	fix1272758580 = 10426
	fix1451774981 = 11893
	fix2172734803 = 17799
	fix3624509785 = 29692
)

// butterfly4 is one dimension of the transform to four samples, scaled up by
// 2^(constBits+1). c4 takes no part in it.
func butterfly4(c0, c1, c2, c3, c5, c6, c7 int32) (o0, o1, o2, o3 int32) {
	even := c0 << (constBits + 1)
	t2 := c2*fix1847759065 - c6*fix0765366865
	t10, t12 := even+t2, even-t2
	t0 := c5*fix1451774981 + c1*fix1061594337 - c7*fix0211164243 - c3*fix2172734803
	t3 := c3*fix0899976223 + c1*fix2562915447 - c7*fix0509795579 - c5*fix0601344887
	return t10 + t3, t12 + t0, t12 - t0, t10 - t3
}

// inverseDCT4Portable makes 4x4 samples of a block.
func inverseDCT4Portable(block *[64]int16, q *quantTable, dst []byte, stride int) {
	var ws [32]int32
	const shift1 = constBits - passBits + 1
	const round1 = 1 << (shift1 - 1)
	for i := range 8 {
		if i == 4 {
			continue
		}
		at := func(row int) int32 { return int32(block[8*row+i]) * q[8*row+i] }
		o0, o1, o2, o3 := butterfly4(at(0), at(1), at(2), at(3), at(5), at(6), at(7))
		ws[i], ws[8+i] = (o0+round1)>>shift1, (o1+round1)>>shift1
		ws[16+i], ws[24+i] = (o2+round1)>>shift1, (o3+round1)>>shift1
	}
	const shift2 = constBits + passBits + 3 + 1
	const round2 = 1<<(shift2-1) + 128<<shift2
	for r := range 4 {
		w := (*[8]int32)(ws[8*r:])
		out := (*[4]byte)(dst[r*stride:])
		o0, o1, o2, o3 := butterfly4(w[0], w[1], w[2], w[3], w[5], w[6], w[7])
		out[0], out[1] = clamp((o0+round2)>>shift2), clamp((o1+round2)>>shift2)
		out[2], out[3] = clamp((o2+round2)>>shift2), clamp((o3+round2)>>shift2)
	}
}

// butterfly2 is one dimension of the transform to two samples, scaled up by
// 2^(constBits+2). The other even coefficients take no part in it.
func butterfly2(c0, c1, c3, c5, c7 int32) (o0, o1 int32) {
	even := c0 << (constBits + 2)
	odd := c5*fix0850430095 + c1*fix3624509785 - c7*fix0720959822 - c3*fix1272758580
	return even + odd, even - odd
}

// inverseDCT2Portable makes 2x2 samples of a block.
func inverseDCT2Portable(block *[64]int16, q *quantTable, dst []byte, stride int) {
	var ws [16]int32
	const shift1 = constBits - passBits + 2
	const round1 = 1 << (shift1 - 1)
	for _, i := range [...]int{0, 1, 3, 5, 7} {
		at := func(row int) int32 { return int32(block[8*row+i]) * q[8*row+i] }
		o0, o1 := butterfly2(at(0), at(1), at(3), at(5), at(7))
		ws[i], ws[8+i] = (o0+round1)>>shift1, (o1+round1)>>shift1
	}
	const shift2 = constBits + passBits + 3 + 2
	const round2 = 1<<(shift2-1) + 128<<shift2
	for r := range 2 {
		w := (*[8]int32)(ws[8*r:])
		o0, o1 := butterfly2(w[0], w[1], w[3], w[5], w[7])
		dst[r*stride], dst[r*stride+1] = clamp((o0+round2)>>shift2), clamp((o1+round2)>>shift2)
	}
}
