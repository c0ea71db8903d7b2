//go:build ignore

// This program writes kernels_amd64.s and kernels_amd64.go: the inverse DCTs,
// the chroma filters and the colour conversion for AVX2. Run it with
//
//	go generate ./imageprep/internal/jpeg
//
// # Why it is exact
//
// The inverse DCTs use the portable code's 32-bit sums and products, which are
// exact modulo 2^32, in another order. The filters stay within 16 bits: at most
// 16*255+8. Of the colour conversion's factors the whole part is added and the
// rest, f, goes through VPMULHW: floor((floor(2vf/2^16)+1)/2) equals
// floor((vf+2^15)/2^16), as floors nest; green takes VPMADDWD and 32-bit sums.
// Tests compare all of it with the portable code, the colours exhaustively.
package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64")
	inverseDCT()
	inverseDCT4()
	inverseDCT2()
	triangleHV()
	triangleH()
	yccToRGB()
	Generate()
}

// table writes a 32-byte constant.
func table(name string, v [8]uint32) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for i, d := range v {
		DATA(4*i, U32(d))
	}
	return m
}

func dwords(name string, v int32) Mem {
	u := uint32(v)
	return table(name, [8]uint32{u, u, u, u, u, u, u, u})
}

func words(name string, v int16) Mem {
	return dwords(name, int32(v)<<16|int32(uint16(v)))
}

const (
	constBits = 13
	passBits  = 2
	shift1    = constBits - passBits
	shift2    = constBits + passBits + 3
)

// factors of the butterfly by name.
type factors map[string]Mem

func (f factors) mul(name string, v reg.VecVirtual) { VPMULLD(f[name], v, v) }

func inverseDCT() {
	f := factors{}
	for _, c := range []struct {
		name string
		v    int32
	}{
		{"0298", 2446}, {"0390", -3196}, {"0541", 4433}, {"0765", 6270}, {"0899", -7373}, {"1175", 9633},
		{"1501", 12299}, {"1847", -15137}, {"1961", -16069}, {"2053", 16819}, {"2562", -20995}, {"3072", 25172},
	} {
		f[c.name] = dwords("fix"+c.name, c.v)
	}
	round1 := dwords("round1", 1<<(shift1-1))
	round2 := dwords("round2", 1<<(shift2-1)+128<<shift2)
	transpose4 := table("transpose4", [8]uint32{0x0C080400, 0x0D090501, 0x0E0A0602, 0x0F0B0703, 0x0C080400,
		0x0D090501, 0x0E0A0602, 0x0F0B0703})

	TEXT("inverseDCTAVX2", attr.NOSPLIT, "func(block *int16, quant *int32, dst *byte, stride int)")
	Doc("inverseDCTAVX2 dequantises 64 coefficients and writes 8 rows of 8 samples.")
	Pragma("noescape")
	block, quant := Load(Param("block"), GP64()), Load(Param("quant"), GP64())
	var c [8]reg.VecVirtual
	for i := range c {
		c[i] = YMM()
		VPMOVSXWD(Mem{Base: block, Disp: 16 * i}, c[i])
		VPMULLD(Mem{Base: quant, Disp: 32 * i}, c[i], c[i])
	}
	c = butterfly(f, c, round1, shift1)
	c = transpose(c)
	c = butterfly(f, c, round2, shift2)

	// Register j holds column j. Packing saturates as clamp does.
	for i := 0; i < 8; i += 2 {
		VPACKSSDW(c[i+1], c[i], c[i])
	}
	VPACKUSWB(c[2], c[0], c[0])
	VPACKUSWB(c[6], c[4], c[4])
	VPSHUFB(transpose4, c[0], c[0])
	VPSHUFB(transpose4, c[4], c[4])
	upper, lower := YMM(), YMM() // rows 0 1 4 5 and 2 3 6 7
	VPUNPCKLDQ(c[4], c[0], upper)
	VPUNPCKHDQ(c[4], c[0], lower)
	dst, stride := Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	store := func(v reg.VecVirtual) {
		VMOVQ(v.AsX(), Mem{Base: dst})
		VMOVHPS(v.AsX(), Mem{Base: dst, Index: stride, Scale: 1})
		LEAQ(Mem{Base: dst, Index: stride, Scale: 2}, dst)
	}
	store(upper)
	store(lower)
	for _, v := range []reg.VecVirtual{upper, lower} {
		high := YMM()
		VEXTRACTI128(U8(1), v, high.AsX())
		store(high)
	}
	VZEROUPPER()
	RET()
}

// butterfly is one dimension for eight columns at once, rounded and shifted.
func butterfly(f factors, c [8]reg.VecVirtual, round Mem, shift int) [8]reg.VecVirtual {
	// Even half.
	t2, t3 := YMM(), YMM()
	VPADDD(c[6], c[2], t2)
	f.mul("0541", t2)
	f.mul("0765", c[2])
	f.mul("1847", c[6])
	VPADDD(c[2], t2, t3)
	VPADDD(c[6], t2, t2)
	t0, t1 := YMM(), YMM()
	VPADDD(c[4], c[0], t0)
	VPSUBD(c[4], c[0], t1)
	for _, t := range []reg.VecVirtual{t0, t1} {
		VPSLLD(U8(constBits), t, t)
		VPADDD(round, t, t)
	}
	e := [4]reg.VecVirtual{YMM(), YMM(), t1, t0}
	VPADDD(t3, t0, e[0])
	VPADDD(t2, t1, e[1])
	VPSUBD(t2, t1, e[2])
	VPSUBD(t3, t0, e[3])

	// Odd half.
	z1, z2, z3, z4 := YMM(), YMM(), YMM(), YMM()
	VPADDD(c[3], c[7], z3)
	VPADDD(c[1], c[5], z4)
	z5 := YMM()
	VPADDD(z4, z3, z5)
	f.mul("1175", z5)
	f.mul("1961", z3)
	f.mul("0390", z4)
	VPADDD(z5, z3, z3)
	VPADDD(z5, z4, z4)
	VPADDD(c[1], c[7], z1)
	f.mul("0899", z1)
	VPADDD(c[3], c[5], z2)
	f.mul("2562", z2)
	odd := func(v reg.VecVirtual, name string, a, b reg.VecVirtual) reg.VecVirtual {
		f.mul(name, v)
		VPADDD(a, v, v)
		VPADDD(b, v, v)
		return v
	}
	o := [4]reg.VecVirtual{
		odd(c[1], "1501", z1, z4), odd(c[3], "3072", z2, z3), odd(c[5], "2053", z2, z4), odd(c[7], "0298", z1, z3),
	}
	var out [8]reg.VecVirtual
	for i := range 4 {
		sum := YMM()
		VPADDD(o[i], e[i], sum)
		VPSUBD(o[i], e[i], e[i])
		VPSRAD(U8(shift), sum, sum)
		VPSRAD(U8(shift), e[i], e[i])
		out[i], out[7-i] = sum, e[i]
	}
	return out
}

// transpose turns eight rows of eight dwords into columns.
func transpose(c [8]reg.VecVirtual) [8]reg.VecVirtual {
	var a, b, out [8]reg.VecVirtual
	for i := 0; i < 8; i += 2 {
		a[i], a[i+1] = YMM(), YMM()
		VPUNPCKLDQ(c[i+1], c[i], a[i])
		VPUNPCKHDQ(c[i+1], c[i], a[i+1])
	}
	for i := 0; i < 8; i += 4 {
		for j := range 2 {
			b[i+2*j], b[i+2*j+1] = YMM(), YMM()
			VPUNPCKLQDQ(a[i+j+2], a[i+j], b[i+2*j])
			VPUNPCKHQDQ(a[i+j+2], a[i+j], b[i+2*j+1])
		}
	}
	for i := range 4 {
		out[i], out[i+4] = YMM(), YMM()
		VPERM2I128(U8(0x20), b[i+4], b[i], out[i])
		VPERM2I128(U8(0x31), b[i+4], b[i], out[i+4])
	}
	return out
}

// inverseDCT4 is the transform to 4x4 samples: seven coefficients of each of
// eight columns, of which the fifth is left, and then of each of four rows.
func inverseDCT4() {
	f := factors{}
	for _, c := range []struct {
		name string
		v    int32
	}{
		{"a0211", -1730}, {"a0509", -4176}, {"a0601", -4926}, {"a0765", -6270}, {"a0899", 7373}, {"a1061", 8697},
		{"a1451", 11893}, {"a1847", 15137}, {"a2172", -17799}, {"a2562", 20995},
	} {
		f[c.name] = dwords("fix"+c.name, c.v)
	}
	round1 := dwords("round4x1", 1<<shift1) // shift1+1 bits
	round2 := dwords("round4x2", 1<<shift2+128<<(shift2+1))
	transpose := table("transpose4x4", [8]uint32{0x0C080400, 0x0D090501, 0x0E0A0602, 0x0F0B0703, 0x0C080400,
		0x0D090501, 0x0E0A0602, 0x0F0B0703})

	TEXT("inverseDCT4AVX2", attr.NOSPLIT, "func(block *int16, quant *int32, dst *byte, stride int)")
	Doc("inverseDCT4AVX2 dequantises coefficients and writes 4 rows of 4 samples.")
	Pragma("noescape")
	block, quant := Load(Param("block"), GP64()), Load(Param("quant"), GP64())
	var c [8]reg.VecVirtual
	for i := range c {
		if i == 4 {
			continue
		}
		c[i] = YMM()
		VPMOVSXWD(Mem{Base: block, Disp: 16 * i}, c[i])
		VPMULLD(Mem{Base: quant, Disp: 32 * i}, c[i], c[i])
	}
	r := butterfly4(f, c, round1, shift1+1, YMM)

	// Columns 0 to 3 are in the low lanes, and 4 to 7 in the high ones.
	var a [4]reg.VecVirtual
	for i := 0; i < 4; i += 2 {
		a[i], a[i+1] = YMM(), YMM()
		VPUNPCKLDQ(r[i+1], r[i], a[i])
		VPUNPCKHDQ(r[i+1], r[i], a[i+1])
	}
	for i := range 2 {
		c[2*i], c[2*i+1] = YMM(), YMM()
		VPUNPCKLQDQ(a[2+i], a[i], c[2*i])
		VPUNPCKHQDQ(a[2+i], a[i], c[2*i+1])
	}
	for i := 1; i < 4; i++ {
		c[4+i] = YMM()
		VEXTRACTI128(U8(1), c[i], c[4+i].AsX())
	}
	for i := range c {
		if i != 4 {
			c[i] = c[i].AsX().(reg.VecVirtual)
		}
	}
	r = butterfly4(f, c, round2, shift2+1, XMM)
	VPACKSSDW(r[1], r[0], r[0])
	VPACKSSDW(r[3], r[2], r[2])
	VPACKUSWB(r[2], r[0], r[0])
	VPSHUFB(transpose, r[0], r[0])
	dst, stride := Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	for i := range 4 {
		VPEXTRD(U8(i), r[0], Mem{Base: dst})
		if i < 3 {
			ADDQ(stride, dst)
		}
	}
	VZEROUPPER()
	RET()
}

// butterfly4 is one dimension to four samples, rounded and shifted.
func butterfly4(
	f factors, c [8]reg.VecVirtual, round Mem, shift int, register func() reg.VecVirtual,
) [4]reg.VecVirtual {
	sum := func(terms map[int]string) reg.VecVirtual {
		total := reg.VecVirtual(nil)
		for i := range 8 {
			if terms[i] == "" {
				continue
			}
			t := register()
			VPMULLD(f[terms[i]], c[i], t)
			if total == nil {
				total = t
			} else {
				VPADDD(t, total, total)
			}
		}
		return total
	}
	even := register()
	VPSLLD(U8(constBits+1), c[0], even)
	VPADDD(round, even, even)
	t2 := sum(map[int]string{2: "a1847", 6: "a0765"})
	t0 := sum(map[int]string{1: "a1061", 3: "a2172", 5: "a1451", 7: "a0211"})
	t3 := sum(map[int]string{1: "a2562", 3: "a0899", 5: "a0601", 7: "a0509"})
	var out [4]reg.VecVirtual
	for i := range out {
		out[i] = register()
	}
	VPADDD(t2, even, out[0])
	VPSUBD(t2, even, out[1])
	VPSUBD(t3, out[0], out[3])
	VPADDD(t3, out[0], out[0])
	VPSUBD(t0, out[1], out[2])
	VPADDD(t0, out[1], out[1])
	for _, o := range out {
		VPSRAD(U8(shift), o, o)
	}
	return out
}

// inverseDCT2 is the transform to 2x2 samples: the first, the second and every
// other coefficient after it of each column, and then of each of two rows.
func inverseDCT2() {
	f := factors{}
	for _, c := range []struct {
		name string
		v    int32
	}{{"b0720", -5906}, {"b0850", 6967}, {"b1272", -10426}, {"b3624", 29692}} {
		f[c.name] = dwords("fix"+c.name, c.v)
	}
	round1 := dwords("round2x1", 1<<(shift1+1)) // shift1+2 bits
	round2 := dwords("round2x2", 1<<(shift2+1)+128<<(shift2+2))
	minus := func(v int32) uint32 { return uint32(-v) }
	row := table("row2", [8]uint32{1 << (constBits + 2), 29692, 0, minus(10426), 0, 6967, 0, minus(5906)})

	TEXT("inverseDCT2AVX2", attr.NOSPLIT, "func(block *int16, quant *int32, dst *byte, stride int)")
	Doc("inverseDCT2AVX2 dequantises coefficients and writes 2 rows of 2 samples.")
	Pragma("noescape")
	block, quant := Load(Param("block"), GP64()), Load(Param("quant"), GP64())
	load := func(i int) reg.VecVirtual {
		c := YMM()
		VPMOVSXWD(Mem{Base: block, Disp: 16 * i}, c)
		VPMULLD(Mem{Base: quant, Disp: 32 * i}, c, c)
		return c
	}
	even := load(0)
	VPSLLD(U8(constBits+2), even, even)
	VPADDD(round1, even, even)
	odd := load(1)
	f.mul("b3624", odd)
	for _, term := range []struct {
		i    int
		name string
	}{{3, "b1272"}, {5, "b0850"}, {7, "b0720"}} {
		c := load(term.i)
		f.mul(term.name, c)
		VPADDD(c, odd, odd)
	}
	r0, r1 := YMM(), YMM()
	VPADDD(odd, even, r0)
	VPSUBD(odd, even, r1)
	for _, r := range []reg.VecVirtual{r0, r1} {
		VPSRAD(U8(shift1+2), r, r)
		VPMULLD(row, r, r)
	}
	// The sum of a row, and twice its even part less that.
	first, sum, high := XMM(), YMM(), YMM()
	VPUNPCKLDQ(r1.AsX(), r0.AsX(), first)
	VPHADDD(r1, r0, sum)
	VEXTRACTI128(U8(1), sum, high.AsX())
	s := sum.AsX()
	VPADDD(high.AsX(), s, s)
	VPHADDD(s, s, s)
	difference := XMM()
	VPADDD(first, first, first)
	VPSUBD(s, first, difference)
	VPUNPCKLDQ(difference, s, s)
	VPADDD(round2, s, s)
	VPSRAD(U8(shift2+2), s, s)
	VPACKSSDW(s, s, s)
	VPACKUSWB(s, s, s)
	dst, stride, out := Load(Param("dst"), GP64()), Load(Param("stride"), GP64()), GP32()
	VMOVD(s, out)
	MOVW(out.As16(), Mem{Base: dst})
	SHRL(U8(16), out)
	MOVW(out.As16(), Mem{Base: dst, Index: stride, Scale: 1})
	VZEROUPPER()
	RET()
}

// triangleHV makes 32 samples of 16 and their neighbours.
func triangleHV() {
	TEXT("triangleHVAVX2", attr.NOSPLIT, "func(near, far, out *byte, chunks int)")
	Doc("triangleHVAVX2 writes samples 2 to 2+32*chunks of a row, from the 16*chunks+2",
		"first samples of the two rows.")
	Pragma("noescape")
	near, far, out, chunks := Load(Param("near"), GP64()), Load(Param("far"), GP64()), Load(Param("out"), GP64()),
		Load(Param("chunks"), GP64())
	even, odd := YMM(), YMM()
	VMOVDQU(words("words8", 8), even)
	VMOVDQU(words("words7", 7), odd)
	Label("chunk")
	var col [3]reg.VecVirtual // 3*near+far of the previous, this and the next
	for i := range col {
		n, d := YMM(), YMM()
		col[i] = YMM()
		VPMOVZXBW(Mem{Base: near, Disp: i}, n)
		VPMOVZXBW(Mem{Base: far, Disp: i}, col[i])
		VPADDW(n, n, d)
		VPADDW(n, d, d)
		VPADDW(d, col[i], col[i])
	}
	weigh(col, even, odd, 4, out)
	ADDQ(Imm(16), near)
	ADDQ(Imm(16), far)
	ADDQ(Imm(32), out)
	DECQ(chunks)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}

// weigh writes (3*this+previous+even)>>shift and (3*this+next+odd)>>shift, in
// turns.
func weigh(col [3]reg.VecVirtual, even, odd reg.VecVirtual, shift int, out reg.Register) {
	double := YMM()
	VPADDW(col[1], col[1], double)
	VPADDW(double, col[1], col[1])
	VPADDW(col[1], col[0], col[0])
	VPADDW(even, col[0], col[0])
	VPSRLW(U8(shift), col[0], col[0])
	VPADDW(col[1], col[2], col[2])
	VPADDW(odd, col[2], col[2])
	VPSRLW(U8(shift), col[2], col[2])
	VPSLLW(U8(8), col[2], col[2])
	VPOR(col[2], col[0], col[0])
	VMOVDQU(col[0], Mem{Base: out, Disp: 2})
}

// triangleH is the same for one row.
func triangleH() {
	TEXT("triangleHAVX2", attr.NOSPLIT, "func(in, out *byte, chunks int)")
	Doc("triangleHAVX2 writes samples 2 to 2+32*chunks of a row, from the 16*chunks+2",
		"first samples of the one it was.")
	Pragma("noescape")
	in, out, chunks := Load(Param("in"), GP64()), Load(Param("out"), GP64()), Load(Param("chunks"), GP64())
	even, odd := YMM(), YMM()
	VMOVDQU(words("words1", 1), even)
	VMOVDQU(words("words2", 2), odd)
	Label("chunk")
	var col [3]reg.VecVirtual
	for i := range col {
		col[i] = YMM()
		VPMOVZXBW(Mem{Base: in, Disp: i}, col[i])
	}
	weigh(col, even, odd, 2, out)
	ADDQ(Imm(16), in)
	ADDQ(Imm(32), out)
	DECQ(chunks)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}

const absent = 0xFF

// interleave gives the shuffles that spread eight samples of each of the two
// halves of a lane, channels first and first+1, over 24 bytes of RGB, from
// byte begin on.
func interleave(name string, first, channels, begin int) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for lane := range 2 {
		for i := range 16 {
			at := begin + i
			v := byte(absent)
			if c := at%3 - first; at < 24 && c >= 0 && c < channels {
				v = byte(8*c + at/3)
			}
			DATA(16*lane+i, U8(v))
		}
	}
	return m
}

// yccToRGB converts 16 pixels at a time.
func yccToRGB() {
	TEXT("yccToRGBAVX2", attr.NOSPLIT, "func(dst, y, cb, cr *byte, chunks int)")
	Doc("yccToRGBAVX2 converts 16*chunks pixels.")
	Pragma("noescape")
	dst, chunks := Load(Param("dst"), GP64()), Load(Param("chunks"), GP64())
	yp, cbp, crp := Load(Param("y"), GP64()), Load(Param("cb"), GP64()), Load(Param("cr"), GP64())
	center, one, half := YMM(), YMM(), YMM()
	VMOVDQU(words("words128", 128), center)
	VMOVDQU(words("ones", 1), one)
	VMOVDQU(dwords("half", 1<<15), half)
	factor := func(name string, v int16) reg.VecVirtual {
		r := YMM()
		VMOVDQU(words(name, v), r)
		return r
	}
	crToR, cbToB := factor("crToR", 91881-1<<16), factor("cbToB", 116130-2<<16)
	var green int32 = (1<<16-46802)<<16 | int32(uint16(0x10000-22554))
	toG := dwords("toG", green)
	rg0, rg1 := interleave("rg0", 0, 2, 0), interleave("rg1", 0, 2, 16)
	b0, b1 := interleave("b0", 2, 1, 0), interleave("b1", 2, 1, 16)

	Label("chunk")
	y, u, v := YMM(), YMM(), YMM()
	VPMOVZXBW(Mem{Base: yp}, y)
	VPMOVZXBW(Mem{Base: cbp}, u)
	VPMOVZXBW(Mem{Base: crp}, v)
	VPSUBW(center, u, u)
	VPSUBW(center, v, v)

	g, t := YMM(), YMM()
	VPUNPCKLWD(v, u, g)
	VPUNPCKHWD(v, u, t)
	for _, s := range []reg.VecVirtual{g, t} {
		VPMADDWD(toG, s, s)
		VPADDD(half, s, s)
		VPSRAD(U8(16), s, s)
	}
	VPACKSSDW(t, g, g)
	VPADDW(y, g, g)
	VPSUBW(v, g, g)

	r, b := YMM(), YMM()
	fraction := func(double, factor, out reg.VecVirtual) {
		VPMULHW(factor, double, out)
		VPADDW(one, out, out)
		VPSRAW(U8(1), out, out)
	}
	double := YMM()
	VPADDW(v, v, double)
	fraction(double, crToR, r)
	VPADDW(v, r, r)
	VPADDW(y, r, r)
	VPADDW(u, u, double)
	fraction(double, cbToB, b)
	VPADDW(double, b, b)
	VPADDW(y, b, b)

	VPACKUSWB(g, r, r)
	VPACKUSWB(b, b, b)
	var out [2]reg.VecVirtual
	for i, m := range [2][2]Mem{{rg0, b0}, {rg1, b1}} {
		out[i] = YMM()
		VPSHUFB(m[0], r, out[i])
		VPSHUFB(m[1], b, t)
		VPOR(t, out[i], out[i])
	}
	for lane := range 2 {
		for i := range 2 {
			if lane == 1 {
				VEXTRACTI128(U8(1), out[i], out[i].AsX())
			}
		}
		VMOVDQU(out[0].AsX(), Mem{Base: dst, Disp: 24 * lane})
		VMOVQ(out[1].AsX(), Mem{Base: dst, Disp: 24*lane + 16})
	}
	for _, p := range []reg.Register{yp, cbp, crp} {
		ADDQ(Imm(16), p)
	}
	ADDQ(Imm(48), dst)
	DECQ(chunks)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}
