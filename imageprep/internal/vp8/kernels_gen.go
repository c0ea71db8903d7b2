//go:build ignore

// This program writes kernels_amd64.s and kernels_amd64.go: the inverse DCT,
// TrueMotion prediction, the normal loop filter, chroma upsampling and colour
// conversion for AVX2; decoding of coefficients and of modes for BMI2. Run it with
//
//	go generate ./imageprep/internal/vp8
//
// # Why it is exact
//
// The inverse DCT adds in 16 bits as the portable code does; 35468 does not fit
// a signed factor, so that v is multiplied by 35468-65536 and added once more.
// The loop filter's sums are saturated in the order of the specification: where
// a sum of three saturates early, the rest has the same sign. A shift of signed
// bytes is one of unsigned ones, moved by 128. The colour conversion's factors
// multiply samples in the high byte, whose upper half is what the portable code
// has after its shift; blue, which needs 16 bits, saturates at 0 where the
// portable code clips. Coefficients and modes are decoded by integers alone, as
// the portable code does. Tests compare all of it with the portable code.
//
// # What they read and write
//
// tokensBMI2 begins a block only where maxBlock bytes are left, more than a block
// can take, and subModesBMI2 is called only where maxSubModes are. Positions,
// categories and modes come from the code's own branches, so that no index depends
// on the data.
package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

func main() {
	ConstraintExpr("amd64")
	addBlock()
	addFour("addFourAVX2", "addFourAVX2 adds four blocks side by side to 16x4 samples, and clears them.", false)
	addFour("addSquareAVX2", "addSquareAVX2 adds four blocks two by two to 8x8 samples, and clears them.", true)
	predictTM(16)
	predictTM(8)
	for _, edge := range []bool{true, false} {
		lumaRows(edge)
		lumaColumns(edge)
		chromaRows(edge)
		chromaColumns(edge)
	}
	upsample()
	toRGB()
	tokens()
	modes()
	Generate()
}

func fill(name string, n int, at func(i int) Constant) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	size := 32 / n
	for i := range n {
		DATA(size*i, at(i))
	}
	return m
}

func words(name string, v uint16) Mem {
	return fill(name, 16, func(int) Constant { return U16(v) })
}

func bytes(name string, v uint8) Mem {
	return fill(name, 32, func(int) Constant { return U8(v) })
}

// butterfly is one dimension of the inverse DCT, over four registers.
func butterfly(c [4]reg.VecVirtual, sin, cos Mem, vec func() reg.VecVirtual) [4]reg.VecVirtual {
	a, b := vec(), vec()
	VPADDW(c[2], c[0], a)
	VPSUBW(c[2], c[0], b)
	mulSin := func(v reg.VecVirtual) reg.VecVirtual {
		out := vec()
		VPMULHW(sin, v, out)
		VPADDW(v, out, out)
		return out
	}
	mulCos := func(v reg.VecVirtual) reg.VecVirtual {
		out := vec()
		VPMULHW(cos, v, out)
		VPADDW(v, out, out)
		return out
	}
	s1, s3, c1, c3 := mulSin(c[1]), mulSin(c[3]), mulCos(c[1]), mulCos(c[3])
	VPSUBW(c3, s1, s1)
	VPADDW(s3, c1, c1)
	out := [4]reg.VecVirtual{vec(), vec(), b, a}
	VPADDW(c1, a, out[0])
	VPADDW(s1, b, out[1])
	VPSUBW(s1, b, out[2])
	VPSUBW(c1, a, out[3])
	return out
}

var (
	sinFactor, cosFactor, four Mem
)

func factors() {
	if sinFactor.Symbol.Name == "" {
		sinFactor, cosFactor, four = words("sinFactor", 35468), words("cosFactor", 20091), words("words4", 4)
	}
}

// addBlock works in the low halves of XMM registers.
func addBlock() {
	TEXT("addBlockAVX2", attr.NOSPLIT, "func(coefficients *int16, dst *byte, stride int)")
	Doc("addBlockAVX2 adds a block to 4x4 samples, and clears it.")
	Pragma("noescape")
	factors()
	vec := func() reg.VecVirtual { return XMM() }
	c, dst, stride := Load(Param("coefficients"), GP64()), Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	var r [4]reg.VecVirtual
	for i := range r {
		r[i] = vec()
		VMOVQ(Mem{Base: c, Disp: 8 * i}, r[i])
	}
	zero := YMM()
	VPXOR(zero, zero, zero)
	VMOVDQU(zero, Mem{Base: c})
	r = butterfly(r, sinFactor, cosFactor, vec)
	a, b := vec(), vec()
	turn := func() { // leaves rows or columns 0 and 1 in a, 2 and 3 in b
		VPUNPCKLWD(r[1], r[0], a)
		VPUNPCKLWD(r[3], r[2], b)
		high := vec()
		VPUNPCKHDQ(b, a, high)
		VPUNPCKLDQ(b, a, a)
		VMOVDQA(high, b)
	}
	turn()
	r[0], r[2] = vec(), vec()
	VPADDW(four, a, r[0])
	VMOVDQA(b, r[2])
	r[1], r[3] = vec(), vec()
	VPSHUFD(U8(0xEE), a, r[1])
	VPSHUFD(U8(0xEE), b, r[3])
	r = butterfly(r, sinFactor, cosFactor, vec)
	turn()
	VPSRAW(U8(3), a, a)
	VPSRAW(U8(3), b, b)
	low := GP64()
	LEAQ(Mem{Base: dst, Index: stride, Scale: 2}, low)
	for i, v := range []reg.VecVirtual{a, b} {
		p := vec()
		at := []reg.Register{dst, low}[i]
		VMOVD(Mem{Base: at}, p)
		VPINSRD(U8(1), Mem{Base: at, Index: stride, Scale: 1}, p, p)
		VPMOVZXBW(p, p)
		VPADDW(p, v, v)
	}
	VPACKUSWB(b, a, a)
	VMOVD(a, Mem{Base: dst})
	VPEXTRD(U8(1), a, Mem{Base: dst, Index: stride, Scale: 1})
	VPEXTRD(U8(2), a, Mem{Base: low})
	VPEXTRD(U8(3), a, Mem{Base: low, Index: stride, Scale: 1})
	VZEROUPPER()
	RET()
}

// addFour transforms four blocks at once.
func addFour(name, doc string, square bool) {
	TEXT(name, attr.NOSPLIT, "func(coefficients *int16, dst *byte, stride int)")
	Doc(doc)
	Pragma("noescape")
	factors()
	vec := func() reg.VecVirtual { return YMM() }
	c, dst, stride := Load(Param("coefficients"), GP64()), Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	// A row of each block in a register: a 4x4 transpose of quadwords.
	var b, r [4]reg.VecVirtual
	zero := YMM()
	VPXOR(zero, zero, zero)
	for i := range b {
		b[i] = vec()
		VMOVDQU(Mem{Base: c, Disp: 32 * i}, b[i])
		VMOVDQU(zero, Mem{Base: c, Disp: 32 * i})
	}
	t := [4]reg.VecVirtual{vec(), vec(), vec(), vec()}
	for i := range 2 {
		VPUNPCKLQDQ(b[2*i+1], b[2*i], t[2*i])
		VPUNPCKHQDQ(b[2*i+1], b[2*i], t[2*i+1])
	}
	for i := range r {
		r[i] = vec()
		VPERM2I128(U8(0x20+0x11*(i/2)), t[2+i%2], t[i%2], r[i])
	}
	r = butterfly(r, sinFactor, cosFactor, vec)
	r = turnWords(r, vec)
	VPADDW(four, r[0], r[0])
	r = butterfly(r, sinFactor, cosFactor, vec)
	r = turnWords(r, vec)
	if square {
		low := GP64()
		LEAQ(Mem{Base: dst, Index: stride, Scale: 4}, low)
		for i, v := range r {
			p := XMM()
			VMOVQ(Mem{Base: dst}, p)
			VPINSRQ(U8(1), Mem{Base: low}, p, p)
			p = add(p, v)
			VMOVQ(p, Mem{Base: dst})
			VMOVHPS(p, Mem{Base: low})
			if i < 3 {
				ADDQ(stride, dst)
				ADDQ(stride, low)
			}
		}
	} else {
		for i, v := range r {
			p := XMM()
			VMOVDQU(Mem{Base: dst}, p)
			p = add(p, v)
			VMOVDQU(p, Mem{Base: dst})
			if i < 3 {
				ADDQ(stride, dst)
			}
		}
	}
	VZEROUPPER()
	RET()
}

// add shifts 16 residuals and adds them to samples.
func add(samples, v reg.VecVirtual) reg.VecVirtual {
	p, out := YMM(), XMM()
	VPMOVZXBW(samples, p)
	VPSRAW(U8(3), v, v)
	VPADDW(p, v, v)
	VEXTRACTI128(U8(1), v, out)
	VPACKUSWB(out, v.AsX(), out)
	return out
}

// turnWords transposes 4x4 words in each quadword.
func turnWords(r [4]reg.VecVirtual, vec func() reg.VecVirtual) [4]reg.VecVirtual {
	// Even and odd blocks.
	var e, o [2]reg.VecVirtual
	for i := range 2 {
		e[i], o[i] = vec(), vec()
		VPUNPCKLWD(r[2*i+1], r[2*i], e[i])
		VPUNPCKHWD(r[2*i+1], r[2*i], o[i])
	}
	var half [2][2]reg.VecVirtual // columns 0 and 1, 2 and 3
	for i, v := range [2][2]reg.VecVirtual{e, o} {
		half[0][i], half[1][i] = vec(), vec()
		VPUNPCKLDQ(v[1], v[0], half[0][i])
		VPUNPCKHDQ(v[1], v[0], half[1][i])
	}
	var out [4]reg.VecVirtual
	for i := range 2 {
		out[2*i], out[2*i+1] = vec(), vec()
		VPUNPCKLQDQ(half[i][1], half[i][0], out[2*i])
		VPUNPCKHQDQ(half[i][1], half[i][0], out[2*i+1])
	}
	return out
}

// predictTM adds the difference of a row's left neighbour and the corner to the
// samples above.
func predictTM(side int) {
	name := map[int]string{16: "predictTM16AVX2", 8: "predictTM8AVX2"}[side]
	TEXT(name, attr.NOSPLIT, "func(dst *byte, stride int)")
	Doc(name + " predicts a square from what is above it and to its left.")
	Pragma("noescape")
	dst, stride := Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	above, corner, v, n := YMM(), YMM(), YMM(), GP64()
	byteOf := func(m Mem, out reg.VecVirtual) {
		t := GP32()
		MOVBLZX(m, t)
		VMOVD(t, out.AsX())
		VPBROADCASTW(out.AsX(), out)
	}
	SUBQ(stride, dst)
	VPMOVZXBW(Mem{Base: dst}, above)
	byteOf(Mem{Base: dst, Disp: -1}, corner)
	VPSUBW(corner, above, above)
	MOVQ(U32(uint32(side)), n)
	Label("row")
	ADDQ(stride, dst)
	byteOf(Mem{Base: dst, Disp: -1}, v)
	VPADDW(above, v, v)
	if side == 16 {
		high := XMM()
		VEXTRACTI128(U8(1), v, high)
		VPACKUSWB(high, v.AsX(), v.AsX())
		VMOVDQU(v.AsX(), Mem{Base: dst})
	} else {
		VPACKUSWB(v.AsX(), v.AsX(), v.AsX())
		VMOVQ(v.AsX(), Mem{Base: dst})
	}
	DECQ(n)
	JNZ(LabelRef("row"))
	VZEROUPPER()
	RET()
}

// taps says where the eight samples around an edge lie, 16 positions at once.
type taps [8]Mem

type limits struct{ edge, interior, sharp reg.VecVirtual }

func loadLimits() limits {
	l := limits{XMM(), XMM(), XMM()}
	for _, p := range []struct {
		name string
		v    reg.VecVirtual
	}{{"limit", l.edge}, {"interior", l.interior}, {"sharp", l.sharp}} {
		a, err := Param(p.name).Resolve()
		if err != nil {
			panic(err)
		}
		VPBROADCASTB(a.Addr, p.v)
	}
	return l
}

var constants = map[string]Mem{}

func constant(name string, v uint8) Mem {
	if _, ok := constants[name]; !ok {
		constants[name] = bytes(name, v)
	}
	return constants[name]
}

// filter changes up to three samples on either side of an edge.
func filter(t taps, l limits, edge bool) {
	load := func(i int) reg.VecVirtual {
		v := XMM()
		VMOVDQU(t[i], v)
		return v
	}
	difference := func(a, b reg.VecVirtual) reg.VecVirtual {
		x, y := XMM(), XMM()
		VPSUBUSB(b, a, x)
		VPSUBUSB(a, b, y)
		VPOR(y, x, x)
		return x
	}
	greater := func(into, v reg.VecVirtual) { VPMAXUB(v, into, into) }
	p1, p0, q0, q1 := load(2), load(3), load(4), load(5)
	steep := difference(p1, p0)
	greater(steep, difference(q1, q0))
	rough := difference(load(0), load(1))
	greater(rough, difference(load(1), p1))
	greater(rough, difference(load(7), load(6)))
	greater(rough, difference(load(6), q1))
	greater(rough, steep)
	VPSUBUSB(l.interior, rough, rough)
	step, far := difference(p0, q0), difference(p1, q1)
	VPADDUSB(step, step, step)
	VPAND(constant("bytes254", 254), far, far)
	VPSRLW(U8(1), far, far)
	VPADDUSB(far, step, step)
	VPSUBUSB(l.edge, step, step)
	VPOR(step, rough, rough)
	zero, mask, flat := XMM(), XMM(), XMM()
	VPXOR(zero, zero, zero)
	VPCMPEQB(zero, rough, mask)
	VPSUBUSB(l.sharp, steep, steep)
	VPCMPEQB(zero, steep, flat)

	sign := constant("bytes128", 128)
	for _, v := range []reg.VecVirtual{p1, p0, q0, q1} {
		VPXOR(sign, v, v)
	}
	a, x := XMM(), XMM()
	VPSUBSB(q1, p1, a)
	if !edge {
		VPANDN(a, flat, a)
	}
	VPSUBSB(p0, q0, x)
	for range 3 {
		VPADDSB(x, a, a)
	}
	VPAND(mask, a, a)
	two := a
	if edge {
		two = XMM()
		VPANDN(a, flat, two)
	}
	// (two+n)>>3, as bytes moved by 16.
	shifted := func(n string, c uint8) reg.VecVirtual {
		v := XMM()
		VPADDSB(constant(n, c), two, v)
		VPXOR(sign, v, v)
		VPSRLW(U8(3), v, v)
		VPAND(constant("bytes31", 31), v, v)
		return v
	}
	f1, f2 := shifted("bytes4", 4), shifted("bytes3", 3)
	down := XMM()
	sixteen := constant("bytes16", 16)
	VPSUBB(sixteen, f1, down)
	VPSUBSB(down, q0, q0)
	VPSUBB(sixteen, f2, f2)
	VPADDSB(f2, p0, p0)
	if !edge {
		VPAVGB(zero, f1, f1)
		VPSUBB(constant("bytes8", 8), f1, f1)
		VPAND(flat, f1, f1)
		VPADDSB(f1, p1, p1)
		VPSUBSB(f1, q1, q1)
	} else {
		VPAND(flat, a, a)
		w, nine := YMM(), YMM()
		VPMOVSXBW(a, w)
		VPMULLW(words9, w, nine)
		VPADDW(words63, nine, w)
		p2, q2 := load(1), load(6)
		VPXOR(sign, p2, p2)
		VPXOR(sign, q2, q2)
		for i, s := range [3][2]reg.VecVirtual{{p2, q2}, {p1, q1}, {p0, q0}} {
			f, high := YMM(), XMM()
			VPSRAW(U8(7), w, f)
			VEXTRACTI128(U8(1), f, high)
			VPACKSSWB(high, f.AsX(), high)
			VPADDSB(high, s[0], s[0])
			VPSUBSB(high, s[1], s[1])
			if i < 2 {
				VPADDW(nine, w, w)
			}
		}
		VPXOR(sign, p2, p2)
		VPXOR(sign, q2, q2)
		VMOVDQU(p2, t[1])
		VMOVDQU(q2, t[6])
	}
	for i, v := range []reg.VecVirtual{p1, p0, q0, q1} {
		VPXOR(sign, v, v)
		VMOVDQU(v, t[2+i])
	}
}

var words9, words63 Mem

func name(edge bool, what string) string {
	if edge {
		return "edge" + what + "AVX2"
	}
	return "inner" + what + "AVX2"
}

func begin(edge bool, what, doc, pointers string) limits {
	if words9.Symbol.Name == "" {
		words9, words63 = words("words9", 9), words("words63", 63)
	}
	TEXT(name(edge, what), attr.NOSPLIT, "func("+pointers+" *byte, stride int, limit, interior, sharp uint8)")
	Doc(name(edge, what) + " filters " + doc)
	Pragma("noescape")
	return loadLimits()
}

// inFile addresses eight rows from four above p on.
func inFile(p, stride reg.Register) taps {
	upper, lower, triple := GP64(), GP64(), GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, triple)
	lower = p.(reg.GPVirtual)
	MOVQ(p, upper)
	SUBQ(stride, upper)
	SUBQ(triple, upper)
	var t taps
	for i, base := range []reg.Register{upper, lower} {
		t[4*i] = Mem{Base: base}
		t[4*i+1] = Mem{Base: base, Index: stride, Scale: 1}
		t[4*i+2] = Mem{Base: base, Index: stride, Scale: 2}
		t[4*i+3] = Mem{Base: base, Index: triple, Scale: 1}
	}
	return t
}

func local() taps {
	m := AllocLocal(128)
	var t taps
	for i := range t {
		t[i] = m.Offset(16 * i)
	}
	return t
}

func lumaRows(edge bool) {
	doc := "the edge between dst's row and the one above."
	if !edge {
		doc = "the three edges between rows of blocks, from dst's row on."
	}
	l := begin(edge, "LumaRows", doc, "dst")
	p, stride := Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	if edge {
		filter(inFile(p, stride), l, true)
	} else {
		n := GP64()
		MOVQ(U32(3), n)
		Label("next")
		filter(inFile(p, stride), l, false)
		LEAQ(Mem{Base: p, Index: stride, Scale: 4}, p)
		DECQ(n)
		JNZ(LabelRef("next"))
	}
	VZEROUPPER()
	RET()
}

func chromaRows(edge bool) {
	l := begin(edge, "ChromaRows", "the edge between u's and v's row and the one above.", "u, v")
	u, v, stride := Load(Param("u"), GP64()), Load(Param("v"), GP64()), Load(Param("stride"), GP64())
	inU, inV, t := inFile(u, stride), inFile(v, stride), local()
	for i := range t {
		x := XMM()
		VMOVQ(inU[i], x)
		VPINSRQ(U8(1), inV[i], x, x)
		VMOVDQU(x, t[i])
	}
	filter(t, l, edge)
	for i := 1; i < 7; i++ {
		if !edge && (i == 1 || i == 6) {
			continue
		}
		x := XMM()
		VMOVDQU(t[i], x)
		VMOVQ(x, inU[i])
		VMOVHPS(x, inV[i])
	}
	VZEROUPPER()
	RET()
}

// turnIn transposes 16 rows of 8 samples, four on either side of the edge, from
// upper and lower, each of which has eight rows.
func turnIn(upper, lower, stride reg.Register, t taps) {
	triple := GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, triple)
	var v [8]reg.VecVirtual
	ups, downs := pointers(upper, stride, triple), pointers(lower, stride, triple)
	for i := range v {
		v[i] = XMM()
		VMOVQ(ups[i], v[i])
		VPUNPCKLBW(downs[i], v[i], v[i])
	}
	for half := 4; half >= 1; half /= 2 {
		var w [8]reg.VecVirtual
		// Groups of 2*half registers hold columns in order.
		for g := 0; g < 8; g += 2 * half {
			for i := range half {
				w[g+i], w[g+half+i] = XMM(), XMM()
				VPUNPCKLBW(v[g+half+i], v[g+i], w[g+i])
				VPUNPCKHBW(v[g+half+i], v[g+i], w[g+half+i])
			}
		}
		v = w
	}
	for i := range v {
		VMOVDQU(v[i], t[i])
	}
}

// pointers addresses eight rows from p-4 on.
func pointers(p, stride, triple reg.Register) [8]Mem {
	low := GP64()
	LEAQ(Mem{Base: p, Index: stride, Scale: 4}, low)
	var m [8]Mem
	for i, base := range []reg.Register{p, low} {
		m[4*i] = Mem{Base: base, Disp: -4}
		m[4*i+1] = Mem{Base: base, Index: stride, Scale: 1, Disp: -4}
		m[4*i+2] = Mem{Base: base, Index: stride, Scale: 2, Disp: -4}
		m[4*i+3] = Mem{Base: base, Index: triple, Scale: 1, Disp: -4}
	}
	return m
}

// turnOut brings the samples back, eight rows at a time.
func turnOut(upper, lower, stride reg.Register, t taps) {
	triple := GP64()
	LEAQ(Mem{Base: stride, Index: stride, Scale: 2}, triple)
	for half, p := range []reg.Register{upper, lower} {
		unpack := func(b, a, out Op) {
			if half == 0 {
				VPUNPCKLBW(b, a, out)
			} else {
				VPUNPCKHBW(b, a, out)
			}
		}
		var d [4]reg.VecVirtual // columns i and i+4
		for i := range d {
			d[i] = XMM()
			VMOVDQU(t[i], d[i])
			unpack(t[i+4], d[i], d[i])
		}
		var e [4]reg.VecVirtual // even columns of four rows and of the next, and odd ones
		for i := range 2 {
			e[i], e[2+i] = XMM(), XMM()
			VPUNPCKLBW(d[i+2], d[i], e[i])
			VPUNPCKHBW(d[i+2], d[i], e[2+i])
		}
		rows := pointers(p, stride, triple)
		for i := range 4 {
			x := XMM()
			if i%2 == 0 {
				VPUNPCKLBW(e[i/2*2+1], e[i/2*2], x)
			} else {
				VPUNPCKHBW(e[i/2*2+1], e[i/2*2], x)
			}
			VMOVQ(x, rows[2*i])
			VMOVHPS(x, rows[2*i+1])
		}
	}
}

func lumaColumns(edge bool) {
	doc := "the edge between dst's column and the one before."
	if !edge {
		doc = "the three edges between columns of blocks, from dst's column on."
	}
	l := begin(edge, "LumaColumns", doc, "dst")
	p, stride := Load(Param("dst"), GP64()), Load(Param("stride"), GP64())
	low, t := GP64(), local()
	LEAQ(Mem{Base: p, Index: stride, Scale: 8}, low)
	n := GP64()
	if !edge {
		MOVQ(U32(3), n)
		Label("next")
	}
	turnIn(p, low, stride, t)
	filter(t, l, edge)
	turnOut(p, low, stride, t)
	if !edge {
		ADDQ(Imm(4), p)
		ADDQ(Imm(4), low)
		DECQ(n)
		JNZ(LabelRef("next"))
	}
	VZEROUPPER()
	RET()
}

func chromaColumns(edge bool) {
	l := begin(edge, "ChromaColumns", "the edge between u's and v's column and the one before.", "u, v")
	u, v, stride := Load(Param("u"), GP64()), Load(Param("v"), GP64()), Load(Param("stride"), GP64())
	t := local()
	turnIn(u, v, stride, t)
	filter(t, l, edge)
	turnOut(u, v, stride, t)
	VZEROUPPER()
	RET()
}

// upsample makes 32 samples between 17 of the nearer row and 17 of the farther.
func upsample() {
	TEXT("upsampleAVX2", attr.NOSPLIT, "func(near, far, out *byte, chunks int)")
	Doc("upsampleAVX2 writes 32*chunks samples that lie between the first and the last of",
		"16*chunks+1 samples of two rows.")
	Pragma("noescape")
	near, far, out, chunks := Load(Param("near"), GP64()), Load(Param("far"), GP64()), Load(Param("out"), GP64()),
		Load(Param("chunks"), GP64())
	eight := YMM()
	VMOVDQU(words("words8", 8), eight)
	Label("chunk")
	var s [4]reg.VecVirtual
	for i, m := range []Mem{{Base: near}, {Base: far}, {Base: near, Disp: 1}, {Base: far, Disp: 1}} {
		s[i] = YMM()
		VPMOVZXBW(m, s[i])
	}
	a, b, c, d := s[0], s[1], s[2], s[3]
	falling, rising, sum := YMM(), YMM(), YMM()
	VPADDW(d, a, falling)
	VPADDW(c, b, rising)
	VPADDW(rising, falling, sum)
	VPADDW(eight, sum, sum)
	for _, o := range []struct{ twice, once reg.VecVirtual }{{rising, a}, {falling, c}} {
		VPADDW(o.twice, o.twice, o.twice)
		VPADDW(sum, o.twice, o.twice)
		VPSRLW(U8(3), o.twice, o.twice)
		VPADDW(o.once, o.twice, o.twice)
		VPSRLW(U8(1), o.twice, o.twice)
	}
	VPSLLW(U8(8), falling, falling)
	VPOR(falling, rising, rising)
	VMOVDQU(rising, Mem{Base: out})
	ADDQ(Imm(16), near)
	ADDQ(Imm(16), far)
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
	return fill(name, 32, func(i int) Constant {
		at := begin + i%16
		v := byte(absent)
		if c := at%3 - first; at < 24 && c >= 0 && c < channels {
			v = byte(8*c + at/3)
		}
		return U8(v)
	})
}

// toRGB converts 16 pixels at a time.
func toRGB() {
	TEXT("toRGBAVX2", attr.NOSPLIT, "func(dst, y, cb, cr *byte, chunks int)")
	Doc("toRGBAVX2 converts 16*chunks pixels.")
	Pragma("noescape")
	dst, chunks := Load(Param("dst"), GP64()), Load(Param("chunks"), GP64())
	yp, cbp, crp := Load(Param("y"), GP64()), Load(Param("cb"), GP64()), Load(Param("cr"), GP64())
	load := func(name string, v uint16) reg.VecVirtual {
		r := YMM()
		VMOVDQU(words(name, v), r)
		return r
	}
	yFactor, redFactor, blueFactor := load("yFactor", 19077), load("redFactor", 26149), load("blueFactor", 33050)
	cbToGreen, crToGreen := load("cbToGreen", 6419), load("crToGreen", 13320)
	redOffset, greenOffset, blueOffset := words("redOffset", 14234), words("greenOffset", 8708), words("blueOffset", 17685)
	rg0, rg1 := interleave("rg0", 0, 2, 0), interleave("rg1", 0, 2, 16)
	b0, b1 := interleave("b0", 2, 1, 0), interleave("b1", 2, 1, 16)

	Label("chunk")
	l, u, v := YMM(), YMM(), YMM()
	for i, p := range []reg.Register{yp, cbp, crp} {
		x := []reg.VecVirtual{l, u, v}[i]
		VPMOVZXBW(Mem{Base: p}, x)
		VPSLLW(U8(8), x, x)
	}
	VPMULHUW(yFactor, l, l)
	r, g, b, t := YMM(), YMM(), YMM(), YMM()
	VPMULHUW(redFactor, v, r)
	VPADDW(l, r, r)
	VPSUBW(redOffset, r, r)
	VPSRAW(U8(6), r, r)
	VPMULHUW(cbToGreen, u, t)
	VPMULHUW(crToGreen, v, g)
	VPADDW(g, t, t)
	VPADDW(greenOffset, l, g)
	VPSUBW(t, g, g)
	VPSRAW(U8(6), g, g)
	VPMULHUW(blueFactor, u, b)
	VPADDW(l, b, b)
	VPSUBUSW(blueOffset, b, b)
	VPSRLW(U8(6), b, b)

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

// coder is the state of the boolean decoder in registers, and what one decision
// needs besides. It uses LZCNT, which every processor with BMI2 has.
type coder struct {
	value, span, n, src, tables reg.GPVirtual
	split, most, row, shift     reg.GPVirtual
}

var labels int

func label(name string) string {
	labels++
	return fmt.Sprintf("%s%d", name, labels)
}

// Where the parts of tokenTables lie.
const (
	zigzagAt = 65536
	aboveAt  = zigzagAt + 16
	leftAt   = aboveAt + 32
	smallAt  = leftAt + 32
	largeAt  = smallAt + 16
)

// Where the fields of reader lie.
const (
	valueAt  = 0
	bitsAt   = 8
	spanAt   = 16
	placeAt  = 24
	dataAt   = 32
	lengthAt = 40
)

// As in bits.go and tokens.go.
const (
	maxBlock  = 272
	positions = 16
)

func (c coder) table(index reg.Register, at int) Mem {
	return Mem{Base: c.tables, Index: index, Scale: 1, Disp: at}
}

// fill makes at least 56 bits available. Whether it has to couldn't be foretold,
// so that it always does.
func (c coder) fill() {
	MOVQ(Mem{Base: c.src}, c.split)
	BSWAPQ(c.split)
	SHRXQ(c.n, c.split, c.split)
	ORQ(c.split, c.value)
	MOVQ(c.n, c.split)
	XORQ(Imm(63), c.split)
	SHRQ(Imm(3), c.split)
	ADDQ(c.split, c.src)
	ORQ(Imm(56), c.n)
}

// divide computes what a decision is taken by and both ranges that may follow,
// so that little is left to be done when a branch was foretold wrongly, and
// compares: below says false. ahead is done before the comparison.
func (c coder) divide(p Op, ahead func()) {
	c.multiply(p)
	MOVQ(c.span, c.shift)
	SUBQ(c.split, c.shift)
	MOVBLZX(Mem{Base: c.row, Index: c.span, Scale: 1, Disp: -127}, c.most.As32())
	MOVBLZX(Mem{Base: c.row, Index: c.span, Scale: 1, Disp: 1}, c.row.As32())
	MOVQ(c.most, c.span)
	LEAQ(Mem{Base: c.split, Disp: 1}, c.most)
	RORXQ(Imm(8), c.most, c.most)
	if ahead != nil {
		ahead()
	}
	CMPQ(c.value, c.most)
}

func (c coder) multiply(p Op) {
	if m, ok := p.(Mem); ok {
		MOVBLZX(m, c.split.As32())
	} else {
		MOVQ(p, c.split)
	}
	MOVQ(c.split, c.row)
	SHLQ(Imm(8), c.row)
	ADDQ(c.tables, c.row)
	IMULL(c.span.As32(), c.split.As32())
	SHRL(Imm(8), c.split.As32())
}

// no goes on behind a decision that is false, and yes behind one that is true.
func (c coder) no() {
	LZCNTQ(c.most, c.shift)
	SHLXQ(c.shift, c.value, c.value)
	SUBQ(c.shift, c.n)
}

func (c coder) yes() {
	RORXQ(Imm(8), c.shift, c.shift)
	LZCNTQ(c.shift, c.shift)
	SUBQ(c.most, c.value)
	MOVQ(c.row, c.span)
	SHLXQ(c.shift, c.value, c.value)
	SUBQ(c.shift, c.n)
}

// bit takes a decision without a branch, for those that nothing foretells. out
// is 0 or 1.
func (c coder) bit(p Mem, out reg.GPVirtual) {
	c.multiply(p)
	LEAQ(Mem{Base: c.split, Disp: 1}, c.most)
	RORXQ(Imm(8), c.most, c.most)
	NEGQ(c.split)
	ADDQ(c.span, c.split)
	RORXQ(Imm(8), c.split, c.split)
	MOVBLZX(Mem{Base: c.row, Index: c.span, Scale: 1, Disp: 1}, out.As32())
	MOVBLZX(Mem{Base: c.row, Index: c.span, Scale: 1, Disp: -127}, c.span.As32())
	MOVQ(c.value, c.row)
	SUBQ(c.most, c.row)
	CMOVQCC(c.row, c.value)
	CMOVQCC(c.split, c.most)
	CMOVLCC(out.As32(), c.span.As32())
	SBBL(out.As32(), out.As32())
	INCL(out.As32())
	LZCNTQ(c.most, c.shift)
	SHLXQ(c.shift, c.value, c.value)
	SUBQ(c.shift, c.n)
}

func argument(name string) Mem {
	a, err := Param(name).Resolve()
	if err != nil {
		panic(err)
	}
	return a.Addr
}

func newCoder() coder {
	return coder{GP64(), GP64(), GP64(), GP64(), GP64(), GP64(), GP64(), GP64(), GP64()}
}

// load takes the state from the reader, and store brings it back.
func (c coder) load() {
	r := c.split
	MOVQ(argument("r"), r)
	MOVQ(Mem{Base: r, Disp: valueAt}, c.value)
	MOVQ(Mem{Base: r, Disp: bitsAt}, c.n)
	MOVQ(Mem{Base: r, Disp: spanAt}, c.span)
	MOVQ(Mem{Base: r, Disp: dataAt}, c.src)
	ADDQ(Mem{Base: r, Disp: placeAt}, c.src)
	MOVQ(argument("t"), c.tables)
}

func (c coder) store() {
	r := c.split
	MOVQ(argument("r"), r)
	MOVQ(c.value, Mem{Base: r, Disp: valueAt})
	MOVQ(c.n, Mem{Base: r, Disp: bitsAt})
	MOVQ(c.span, Mem{Base: r, Disp: spanAt})
	SUBQ(Mem{Base: r, Disp: dataAt}, c.src)
	MOVQ(c.src, Mem{Base: r, Disp: placeAt})
}

// Modes of 4x4 blocks, as in modes.go.
const (
	modeDC = iota
	modeTM
	modeVE
	modeHE
	modeLD
	modeRD
	modeVR
	modeVL
	modeHD
	modeHU
	subModes
)

// modes decodes the modes of 4x4 blocks.
func modes() {
	TEXT("subModesBMI2", attr.NOSPLIT, "func(r *uint64, t, p, sub, above, left *uint8)")
	Doc("subModesBMI2 decodes the modes of 16 blocks.")
	Pragma("noescape")
	c := newCoder()
	c.load()
	i, x, y, probs := GP64(), GP64(), GP64(), GP64()
	XORL(i.As32(), i.As32())
	Label("next")
	MOVQ(i, x)
	ANDQ(Imm(3), x)
	MOVQ(i, y)
	SHRQ(Imm(2), y)
	MOVQ(argument("above"), c.row)
	MOVBLZX(Mem{Base: c.row, Index: x, Scale: 1}, probs.As32())
	IMUL3L(U32(subModes*16), probs.As32(), probs.As32())
	MOVQ(argument("left"), c.row)
	MOVBLZX(Mem{Base: c.row, Index: y, Scale: 1}, c.row.As32())
	SHLL(Imm(4), c.row.As32())
	ADDQ(c.row, probs)
	ADDQ(argument("p"), probs)
	c.fill()
	mode := c.shift
	var node func(n int, no, yes any)
	side := func(to any) {
		switch to := to.(type) {
		case int:
			MOVL(U32(uint32(to)), mode.As32())
			JMP(LabelRef("mode"))
		case func():
			to()
		}
	}
	node = func(n int, no, yes any) {
		set := label("set")
		c.divide(Mem{Base: probs, Disp: n}, nil)
		JCC(LabelRef(set))
		c.no()
		side(no)
		Label(set)
		c.yes()
		side(yes)
	}
	then := func(n int, no, yes any) func() { return func() { node(n, no, yes) } }
	node(0, modeDC, then(1, modeTM, then(2, modeVE, then(3,
		then(4, modeHE, then(5, modeRD, modeVR)),
		then(6, modeLD, then(7, modeVL, then(8, modeHD, modeHU)))))))
	Label("mode")
	for _, to := range []struct {
		name  string
		index reg.Register
	}{{"sub", i}, {"above", x}, {"left", y}} {
		MOVQ(argument(to.name), c.row)
		MOVB(mode.As8(), Mem{Base: c.row, Index: to.index, Scale: 1})
	}
	INCQ(i)
	CMPQ(i, Imm(16))
	JNE(LabelRef("next"))
	c.store()
	RET()
}

// tokens decodes blocks of coefficients.
func tokens() {
	TEXT("tokensBMI2", attr.NOSPLIT,
		"func(r *uint64, t, p *uint8, q *int32, a, l *uint8, c *int16, first, i, end int) uint64")
	Doc("tokensBMI2 decodes the blocks from one on, of a kind, until it has all or the end is near, and",
		"returns which of them have any coefficients, and in the upper half where it stopped. It takes",
		"the reader, tables, probabilities, steps, what lies above and to the left, and coefficients.")
	Pragma("noescape")
	arg := argument
	c := newCoder()
	q, probs, i := GP64(), GP64(), GP64()
	zero, one := GP64(), GP64() // probabilities of the next decisions
	local := AllocLocal(32 + 4*positions)
	limit, coded, at, value, steps := local, local.Offset(8), local.Offset(16), local.Offset(24), local.Offset(32)

	// The state.
	t := c.split
	MOVQ(arg("r"), t)
	MOVQ(Mem{Base: t, Disp: dataAt}, c.row)
	ADDQ(Mem{Base: t, Disp: lengthAt}, c.row)
	SUBQ(U32(maxBlock), c.row)
	MOVQ(c.row, limit)
	c.load()
	MOVQ(arg("q"), t)
	for i := range positions {
		if i < 2 {
			MOVL(Mem{Base: t, Disp: 4 * i}, c.row.As32())
		}
		MOVL(c.row.As32(), steps.Offset(4*i))
	}
	MOVL(U32(0), coded)
	MOVQ(arg("i"), i)
	MOVQ(i, at)

	Label("block")
	MOVQ(at, i)
	CMPQ(i, arg("end"))
	JGE(LabelRef("end"))
	CMPQ(c.src, limit)
	JHI(LabelRef("end"))
	MOVBLZX(c.table(i, aboveAt), c.row.As32())
	MOVBLZX(c.table(i, leftAt), c.shift.As32())
	MOVQ(arg("a"), t)
	MOVBLZX(Mem{Base: t, Index: c.row, Scale: 1}, probs.As32())
	MOVQ(arg("l"), t)
	MOVBLZX(Mem{Base: t, Index: c.shift, Scale: 1}, t.As32())
	ADDQ(t, probs)
	SHLQ(Imm(4), probs)
	MOVQ(arg("first"), i)
	MOVQ(i, q)
	SHLQ(Imm(6), q)
	ADDQ(arg("p"), q)
	ADDQ(q, probs)

	prob := func(n int) Mem { return Mem{Base: probs, Disp: n} }
	Label("token")
	c.fill()
	c.divide(prob(0), func() { MOVBLZX(prob(1), zero.As32()) })
	JCS(LabelRef("last"))
	c.yes()
	Label("zeros")
	c.divide(zero, func() {
		MOVBLZX(prob(2), one.As32())
		MOVBLZX(Mem{Base: q, Disp: 64 + 1}, zero.As32())
	})
	JCC(LabelRef("some"))
	c.no()
	INCQ(i)
	ADDQ(Imm(64), q)
	MOVQ(q, probs)
	CMPQ(i, Imm(16))
	JEQ(LabelRef("done"))
	c.fill()
	JMP(LabelRef("zeros"))

	Label("some")
	c.yes()
	c.divide(one, nil)
	JCC(LabelRef("large"))
	c.no()
	LEAQ(Mem{Base: q, Disp: 64 + 16}, probs)
	v := c.shift
	MOVL(U32(1), v.As32())

	// Both halves of the range shift by one behind a sign.
	Label("sign")
	IMULL(steps.Idx(i, 4), v.As32())
	MOVQ(c.span, c.most)
	SHRQ(Imm(1), c.most)
	INCQ(c.most)
	RORXQ(Imm(8), c.most, c.most)
	MOVQ(c.value, c.row)
	SUBQ(c.most, c.row)
	CMOVQCC(c.row, c.value)
	SBBQ(t, t) // all ones where it isn't negative
	DECQ(c.span)
	SUBQ(t, c.span)
	ORQ(Imm(1), c.span)
	NOTQ(t)
	XORL(t.As32(), v.As32())
	SUBL(t.As32(), v.As32())
	ADDQ(c.value, c.value)
	DECQ(c.n)
	MOVBLZX(c.table(i, zigzagAt), t.As32())
	MOVQ(at, c.row)
	SHLQ(Imm(5), c.row)
	ADDQ(arg("c"), c.row)
	MOVW(v.As16(), Mem{Base: c.row, Index: t, Scale: 2})
	INCQ(i)
	ADDQ(Imm(64), q)
	CMPQ(i, Imm(16))
	JNE(LabelRef("token"))
	JMP(LabelRef("done"))

	Label("large")
	c.yes()
	c.fill()
	out := GP64()
	sign := func() {
		LEAQ(Mem{Base: q, Disp: 64 + 32}, probs)
		MOVL(out.As32(), v.As32())
		JMP(LabelRef("sign"))
	}
	constant := func(n int) Mem { return Mem{Base: c.tables, Disp: smallAt + n} }
	c.divide(prob(3), nil)
	JCC(LabelRef("fiveUp"))
	c.no()
	c.divide(prob(4), nil)
	JCC(LabelRef("threeUp"))
	c.no()
	MOVL(U32(2), out.As32())
	sign()
	Label("threeUp")
	c.yes()
	c.bit(prob(5), out)
	ADDL(Imm(3), out.As32())
	sign()
	Label("fiveUp")
	c.yes()
	c.divide(prob(6), nil)
	JCC(LabelRef("elevenUp"))
	c.no()
	c.divide(prob(7), nil)
	JCC(LabelRef("sevenUp"))
	c.no()
	c.bit(constant(0), out)
	ADDL(Imm(5), out.As32())
	sign()
	Label("sevenUp")
	c.yes()
	c.bit(constant(1), out)
	LEAL(Mem{Base: out, Index: out, Scale: 1, Disp: 7}, out.As32())
	MOVL(out.As32(), value)
	c.bit(constant(2), out)
	ADDL(value, out.As32())
	sign()

	// The category, and its bits.
	Label("elevenUp")
	c.yes()
	c.bit(prob(8), out)
	ADDQ(out, probs)
	ADDL(out.As32(), out.As32())
	MOVL(out.As32(), value)
	c.bit(prob(9), out)
	ADDL(value, out.As32()) // the category
	MOVQ(out, probs)
	SHLQ(Imm(4), probs)
	LEAQ(Mem{Base: c.tables, Index: probs, Scale: 1, Disp: largeAt}, probs)
	MOVL(U32(8), t.As32())
	SHLXL(out.As32(), t.As32(), t.As32())
	ADDL(Imm(3), t.As32())
	MOVL(t.As32(), value.Offset(4))
	MOVL(U32(0), value)
	Label("extra")
	c.fill()
	c.bit(prob(0), out)
	MOVL(value, t.As32())
	LEAL(Mem{Base: out, Index: t, Scale: 2}, out.As32())
	MOVL(out.As32(), value)
	INCQ(probs)
	CMPB(prob(0), Imm(0))
	JNE(LabelRef("extra"))
	ADDL(value.Offset(4), out.As32())
	c.fill()
	sign()

	Label("last")
	c.no()
	Label("done")
	// Were there any?
	MOVQ(at, c.row)
	XORL(t.As32(), t.As32())
	CMPQ(i, arg("first"))
	SETGT(t.As8())
	MOVBLZX(c.table(c.row, aboveAt), c.shift.As32())
	MOVQ(arg("a"), c.most)
	MOVB(t.As8(), Mem{Base: c.most, Index: c.shift, Scale: 1})
	MOVBLZX(c.table(c.row, leftAt), c.shift.As32())
	MOVQ(arg("l"), c.most)
	MOVB(t.As8(), Mem{Base: c.most, Index: c.shift, Scale: 1})
	SHLXL(c.row.As32(), t.As32(), t.As32())
	ORL(t.As32(), coded)
	INCQ(c.row)
	MOVQ(c.row, at)
	JMP(LabelRef("block"))

	Label("end")
	c.store()
	MOVL(coded, t.As32())
	MOVQ(at, c.row)
	SHLQ(Imm(32), c.row)
	ORQ(c.row, t)
	Store(t, ReturnIndex(0))
	RET()
}
