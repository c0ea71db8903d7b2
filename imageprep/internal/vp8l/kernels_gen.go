//go:build ignore

// This program writes kernels_amd64.s and kernels_amd64.go: the inverse
// transforms for AVX2. Run it with
//
//	go generate ./imageprep/internal/vp8l
//
// # Why it is exact
//
// VPAVGB rounds up, and the mean of two complements, rounded up, is the
// complement of the mean rounded down. So the predictors of means carry the
// complement of the pixel to the left: the complement of in+p is ^p-in. The
// factors of the cross-colour transform multiply a channel in the high byte, eight
// times too large, of which the upper half is the product shifted by five. Half of
// a difference, rounded towards zero, is that of a negative one and 1, rounded
// down. Tests compare all of it with the portable code.
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
	addGreen()
	addCross()
	toRGB()
	for _, mode := range []int{0, 2, 3, 4, 8, 9} {
		predictEight(mode)
	}
	for _, mode := range []int{1, 5, 6, 7, 10, 11, 12, 13} {
		predictOne(mode)
	}
	Generate()
}

func bytes(name string, at func(i int) byte) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for i := range 32 {
		DATA(i, U8(at(i)))
	}
	return m
}

const absent = 0xFF

func addGreen() {
	TEXT("addGreenAVX2", attr.NOSPLIT, "func(row *uint32, chunks int)")
	Doc("addGreenAVX2 adds green to red and blue of 8*chunks pixels.")
	Pragma("noescape")
	row, chunks := Load(Param("row"), GP64()), Load(Param("chunks"), GP64())
	spread, v, green := YMM(), YMM(), YMM()
	VMOVDQU(bytes("greenTwice", func(i int) byte {
		if i%2 == 0 {
			return byte(i%16/4*4 + 1)
		}
		return absent
	}), spread)
	Label("chunk")
	VMOVDQU(Mem{Base: row}, v)
	VPSHUFB(spread, v, green)
	VPADDB(green, v, v)
	VMOVDQU(v, Mem{Base: row})
	ADDQ(Imm(32), row)
	DECQ(chunks)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}

// addCross has words of red's and blue's factors, times eight.
func addCross() {
	TEXT("addCrossAVX2", attr.NOSPLIT, "func(row *uint32, byGreen, byRed uint32, chunks int)")
	Doc("addCrossAVX2 adds to red and blue of 8*chunks pixels their shares of green, and then to",
		"blue that of red. byGreen holds factors of blue and red, byRed that of blue in the",
		"high word, all times eight.")
	Pragma("noescape")
	row, chunks := Load(Param("row"), GP64()), Load(Param("chunks"), GP64())
	byGreen, byRed := YMM(), YMM()
	broadcast("byGreen", byGreen)
	broadcast("byRed", byRed)
	spread, low, v, t := YMM(), YMM(), YMM(), YMM()
	VMOVDQU(bytes("greenHigh", func(i int) byte {
		if i%2 == 1 {
			return byte(i%16/4*4 + 1)
		}
		return absent
	}), spread)
	VMOVDQU(bytes("lowBytes", func(i int) byte { return byte(255 * (1 - i%2)) }), low)
	Label("chunk")
	VMOVDQU(Mem{Base: row}, v)
	VPSHUFB(spread, v, t)
	VPMULHW(byGreen, t, t)
	VPAND(low, t, t)
	VPADDB(t, v, v)
	VPSLLW(U8(8), v, t)
	VPMULHW(byRed, t, t)
	VPSRLD(U8(16), t, t)
	VPAND(low, t, t)
	VPADDB(t, v, v)
	VMOVDQU(v, Mem{Base: row})
	ADDQ(Imm(32), row)
	DECQ(chunks)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}

func broadcast(name string, v reg.VecVirtual) {
	VMOVD(Load(Param(name), GP32()), v.AsX())
	VPBROADCASTD(v.AsX(), v)
}

func toRGB() {
	TEXT("toRGBAVX2", attr.NOSPLIT, "func(dst *byte, row *uint32, chunks int)")
	Doc("toRGBAVX2 writes the colours of 8*chunks pixels, and four bytes more.")
	Pragma("noescape")
	dst, row, chunks := Load(Param("dst"), GP64()), Load(Param("row"), GP64()), Load(Param("chunks"), GP64())
	order, v := YMM(), YMM()
	VMOVDQU(bytes("rgb", func(i int) byte {
		if i %= 16; i < 12 {
			return byte(i/3*4 + 2 - i%3)
		}
		return absent
	}), order)
	high := XMM()
	Label("chunk")
	VMOVDQU(Mem{Base: row}, v)
	VPSHUFB(order, v, v)
	VEXTRACTI128(U8(1), v, high)
	VMOVDQU(v.AsX(), Mem{Base: dst})
	VMOVDQU(high, Mem{Base: dst, Disp: 12})
	ADDQ(Imm(32), row)
	ADDQ(Imm(24), dst)
	DECQ(chunks)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}

var constants = map[string]Mem{}

func constant(name string, at func(i int) byte) Mem {
	if _, ok := constants[name]; !ok {
		constants[name] = bytes(name, at)
	}
	return constants[name]
}

func begin(mode int, count string) (in, above, out, n reg.Register) {
	name := fmt.Sprintf("predict%dAVX2", mode)
	TEXT(name, attr.NOSPLIT, "func(in, above, out *uint32, "+count+" int)")
	if count == "chunks" {
		Doc(fmt.Sprintf("%s undoes predictor %d of 8*chunks pixels.", name, mode))
	} else {
		Doc(fmt.Sprintf("%s undoes predictor %d of n pixels.", name, mode))
	}
	Pragma("noescape")
	return Load(Param("in"), GP64()), Load(Param("above"), GP64()), Load(Param("out"), GP64()), Load(Param(count), GP64())
}

// Places of the neighbours above, from the one at the left of the first pixel on.
const (
	topLeft  = 0
	top      = 4
	topRight = 8
)

// predictEight takes predictors that don't know the pixel to the left.
func predictEight(mode int) {
	in, above, out, n := begin(mode, "chunks")
	ones := constant("all", func(int) byte { return 255 })
	Label("chunk")
	p := YMM()
	at := func(place int) Mem { return Mem{Base: above, Disp: place} }
	mean := func(a, b int) {
		t := YMM()
		VMOVDQU(ones, t)
		VPXOR(at(a), t, p)
		VPXOR(at(b), t, t)
		VPAVGB(t, p, p)
		VPXOR(ones, p, p)
	}
	switch mode {
	case 0:
		VMOVDQU(constant("opaque", func(i int) byte { return byte(255 * (i % 4 / 3)) }), p)
	case 2:
		VMOVDQU(at(top), p)
	case 3:
		VMOVDQU(at(topRight), p)
	case 4:
		VMOVDQU(at(topLeft), p)
	case 8:
		mean(topLeft, top)
	case 9:
		mean(top, topRight)
	}
	VPADDB(Mem{Base: in}, p, p)
	VMOVDQU(p, Mem{Base: out, Disp: 4})
	ADDQ(Imm(32), in)
	ADDQ(Imm(32), above)
	ADDQ(Imm(32), out)
	DECQ(n)
	JNZ(LabelRef("chunk"))
	VZEROUPPER()
	RET()
}

// predictOne takes the others, a pixel at a time.
func predictOne(mode int) {
	in, above, out, n := begin(mode, "n")
	left, ones := XMM(), XMM()
	VMOVDQU(constant("all", func(int) byte { return 255 }), ones)
	at := func(place int) reg.VecVirtual {
		v := XMM()
		VMOVD(Mem{Base: above, Disp: place}, v)
		return v
	}
	wide := func(place int) reg.VecVirtual {
		v := XMM()
		VPMOVZXBW(Mem{Base: above, Disp: place}, v)
		return v
	}
	not := func(place int) reg.VecVirtual {
		v := at(place)
		VPXOR(ones, v, v)
		return v
	}
	put := func(v reg.VecVirtual) { VMOVD(v, Mem{Base: out, Disp: 4}) }
	v := XMM()
	VMOVD(Mem{Base: out}, left)
	switch mode {
	case 5, 6, 7, 10:
		VPXOR(ones, left, left)
	case 12, 13:
		VPMOVZXBW(left, left)
	}
	Label("pixel")
	VMOVD(Mem{Base: in}, v)
	switch mode {
	case 1:
		VPADDB(v, left, left)
		put(left)
	case 5, 6, 7, 10:
		switch mode {
		case 5:
			VPAVGB(not(topRight), left, left)
			VPAVGB(not(top), left, left)
		case 6:
			VPAVGB(not(topLeft), left, left)
		case 7:
			VPAVGB(not(top), left, left)
		case 10:
			right := not(top)
			VPAVGB(not(topRight), right, right)
			VPAVGB(not(topLeft), left, left)
			VPAVGB(right, left, left)
		}
		VPSUBB(v, left, left)
		o := XMM()
		VPXOR(ones, left, o)
		put(o)
	case 11:
		t, tl, byLeft, byTop := at(top), at(topLeft), XMM(), XMM()
		VPSADBW(tl, t, byLeft)
		VPSADBW(tl, left, byTop)
		VPCMPGTD(byLeft, byTop, byTop)
		VPBLENDVB(byTop, left, t, t)
		VPADDB(v, t, left)
		put(left)
	case 12:
		d := wide(top)
		VPSUBW(wide(topLeft), d, d)
		VPADDW(d, left, left)
		VPACKUSWB(left, left, left)
		VPADDB(v, left, left)
		put(left)
		VPMOVZXBW(left, left)
	case 13:
		tl, d, negative := wide(topLeft), XMM(), XMM()
		VPADDW(wide(top), left, left)
		VPSRLW(U8(1), left, left)
		VPSUBW(tl, left, d)
		VPCMPGTW(left, tl, negative)
		VPSUBW(negative, d, d)
		VPSRAW(U8(1), d, d)
		VPADDW(d, left, left)
		VPACKUSWB(left, left, left)
		VPADDB(v, left, left)
		put(left)
		VPMOVZXBW(left, left)
	}
	ADDQ(Imm(4), in)
	ADDQ(Imm(4), above)
	ADDQ(Imm(4), out)
	DECQ(n)
	JNZ(LabelRef("pixel"))
	VZEROUPPER()
	RET()
}
