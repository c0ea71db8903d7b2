package vp8

// The transforms of section 14, in 16 bits: what goes beyond them wraps around.

// mulSin and mulCos multiply by sqrt(2)*sin(pi/8) and sqrt(2)*cos(pi/8).
func mulSin(v int16) int16 { return int16(int32(v) * 35468 >> 16) }
func mulCos(v int16) int16 { return v + int16(int32(v)*20091>>16) }

// butterfly is one dimension of the inverse DCT.
func butterfly(v0, v1, v2, v3 int16) (int16, int16, int16, int16) {
	a, b := v0+v2, v0-v2
	c, d := mulSin(v1)-mulCos(v3), mulCos(v1)+mulSin(v3)
	return a + d, b + c, b - c, a - d
}

// addBlockPortable adds the inverse DCT of a block to 4x4 samples, and clears
// it.
func addBlockPortable(c *[16]int16, dst []byte, stride int) {
	var t [16]int16
	for x := range 4 {
		t[x], t[4+x], t[8+x], t[12+x] = butterfly(c[x], c[4+x], c[8+x], c[12+x])
	}
	for y := range 4 {
		row, v := dst[y*stride:][:4], t[4*y:][:4]
		v0, v1, v2, v3 := butterfly(v[0]+4, v[1], v[2], v[3])
		row[0] = clip(int32(row[0]) + int32(v0>>3))
		row[1] = clip(int32(row[1]) + int32(v1>>3))
		row[2] = clip(int32(row[2]) + int32(v2>>3))
		row[3] = clip(int32(row[3]) + int32(v3>>3))
	}
	*c = [16]int16{}
}

// addFourPortable adds four blocks that lie side by side.
func addFourPortable(c *[64]int16, dst []byte, stride int) {
	for i := range 4 {
		addBlockPortable((*[16]int16)(c[16*i:]), dst[4*i:], stride)
	}
}

// addSquarePortable adds four blocks that lie two by two.
func addSquarePortable(c *[64]int16, dst []byte, stride int) {
	for i := range 4 {
		addBlockPortable((*[16]int16)(c[16*i:]), dst[4*(i&1)+4*(i>>1)*stride:], stride)
	}
}

// inverseWHT spreads a Y2 block over the DC coefficients of 16 blocks.
func inverseWHT(c *[16]int16, out *[256]int16) {
	var t [16]int32
	for x := range 4 {
		v0, v1, v2, v3 := int32(c[x]), int32(c[4+x]), int32(c[8+x]), int32(c[12+x])
		a, b, d, e := v0+v3, v1+v2, v1-v2, v0-v3
		t[x], t[4+x], t[8+x], t[12+x] = a+b, e+d, a-b, e-d
	}
	for y := range 4 {
		v := (*[4]int32)(t[4*y:])
		a, b, d, e := v[0]+v[3]+3, v[1]+v[2], v[1]-v[2], v[0]-v[3]+3
		o := out[64*y:][:49]
		o[0], o[16], o[32], o[48] = int16((a+b)>>3), int16((e+d)>>3), int16((a-b)>>3), int16((e-d)>>3)
	}
}

func clip(v int32) byte {
	if uint32(v) <= 255 {
		return byte(v)
	}
	if v < 0 {
		return 0
	}
	return 255
}
