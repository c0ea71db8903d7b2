//go:build ignore

// This program writes resample_amd64.s and resample_amd64.go: the passes of
// resize.go for AVX2. Run it with
//
//	go generate ./imageprep
//
// # Why it is exact
//
// A weight k has 22 bits of fraction and does not fit the 16-bit multiplier
// VPMADDWD, so it comes in two halves, k = high*2^15 + low with low in
// [0, 2^15). The sums of samples times low and of samples times high are kept
// apart, and joined as low + high<<15 at the end. Every operation is exact
// modulo 2^32, as every operation of the portable code is, so the two agree in
// every bit whatever the weights. A product of two pairs, at most
// 2*255*(2^15-1), does not saturate.
package main

import (
	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
	"github.com/mmcloughlin/avo/reg"
)

const (
	side          = 224
	rowBytes      = 3 * side
	precisionBits = 22
	highShift     = 15
)

func main() {
	ConstraintExpr("amd64")
	half := dwords("half", 1<<(precisionBits-1))
	horizontal(half)
	vertical(half)
	Generate()
}

func dwords(name string, v ...uint32) Mem {
	m := GLOBL(name, attr.RODATA|attr.NOPTR)
	for i, d := range v {
		DATA(4*i, U32(d))
	}
	return m
}

// horizontal computes four positions of two rows at a time: the low lane of a
// register belongs to the first row and the high lane to the second.
func horizontal(half Mem) {
	// Pixels 0 and 1, and 2 and 3, of twelve bytes of RGB, as pairs of words:
	// r0 r1 g0 g1 b0 b1 0 0.
	first := dwords("pixels01", 0xFF03FF00, 0xFF04FF01, 0xFF05FF02, 0xFFFFFFFF, 0xFF03FF00, 0xFF04FF01, 0xFF05FF02, 0xFFFFFFFF)
	second := dwords("pixels23", 0xFF09FF06, 0xFF0AFF07, 0xFF0BFF08, 0xFFFFFFFF, 0xFF09FF06, 0xFF0AFF07, 0xFF0BFF08, 0xFFFFFFFF)
	pack := dwords("packRGB", 0x04020100, 0x09080605, 0x0E0D0C0A, 0xFFFFFFFF, 0x04020100, 0x09080605, 0x0E0D0C0A, 0xFFFFFFFF)

	TEXT("horizontalAVX2", attr.NOSPLIT, "func(out0, out1, in0, in1 *byte, start *int32, weights *int16, groups int)")
	Doc("horizontalAVX2 computes the 224 positions of two rows. start holds the byte",
		"offset of the first sample of each position; weights, for every four",
		"positions, groups times four times the weights of four samples: two pairs of",
		"low halves and two of high halves. It reads 16 bytes at each group of four",
		"samples and writes 4 bytes beyond each row.")
	Pragma("noescape")
	out0, out1 := Load(Param("out0"), GP64()), Load(Param("out1"), GP64())
	start, k := Load(Param("start"), GP64()), Load(Param("weights"), GP64())
	m01, m23, round := YMM(), YMM(), YMM()
	VMOVDQU(first, m01)
	VMOVDQU(second, m23)
	VPBROADCASTD(half, round)
	left := GP64()
	MOVQ(U32(side/4), left)

	Label("positions")
	in0, in1 := Load(Param("in0"), GP64()), Load(Param("in1"), GP64())
	groups := Load(Param("groups"), GP64())
	var at [4]reg.GPVirtual
	var low, high [4]reg.VecVirtual
	for i := range 4 {
		at[i], low[i], high[i] = GP64(), YMM(), YMM()
		MOVLQSX(Mem{Base: start, Disp: 4 * i}, at[i])
		VMOVDQA(round, low[i])
		VPXOR(high[i], high[i], high[i])
	}
	Label("groups")
	px, pair, w := YMM(), YMM(), YMM()
	for i := range 4 {
		VMOVDQU(Mem{Base: in0, Index: at[i], Scale: 1}, px.AsX())
		VINSERTI128(U8(1), Mem{Base: in1, Index: at[i], Scale: 1}, px, px)
		for j, mask := range []reg.VecVirtual{m01, m23} {
			VPSHUFB(mask, px, pair)
			VPBROADCASTD(Mem{Base: k, Disp: 16*i + 4*j}, w)
			VPMADDWD(w, pair, w)
			VPADDD(w, low[i], low[i])
			VPBROADCASTD(Mem{Base: k, Disp: 16*i + 8 + 4*j}, w)
			VPMADDWD(w, pair, w)
			VPADDD(w, high[i], high[i])
		}
	}
	ADDQ(Imm(12), in0)
	ADDQ(Imm(12), in1)
	ADDQ(Imm(64), k)
	DECQ(groups)
	JNZ(LabelRef("groups"))

	for i := range 4 {
		join(low[i], high[i])
	}
	VPACKSSDW(low[1], low[0], low[0])
	VPACKSSDW(low[3], low[2], low[2])
	VPACKUSWB(low[2], low[0], low[0])
	VPSHUFB(pack, low[0], low[0])
	VMOVDQU(low[0].AsX(), Mem{Base: out0})
	VEXTRACTI128(U8(1), low[0], Mem{Base: out1})
	ADDQ(Imm(12), out0)
	ADDQ(Imm(12), out1)
	ADDQ(Imm(16), start)
	DECQ(left)
	JNZ(LabelRef("positions"))
	VZEROUPPER()
	RET()
}

// join adds the halves and drops the fraction. Packing with saturation then
// does what clip does.
func join(low, high reg.VecVirtual) {
	VPSLLD(U8(highShift), high, high)
	VPADDD(high, low, low)
	VPSRAD(U8(precisionBits), low, low)
}

// vertical computes 32 bytes of one row at a time.
func vertical(half Mem) {
	TEXT("verticalAVX2", attr.NOSPLIT, "func(out, rows *byte, stride int, weights *int16, pairs int)")
	Doc("verticalAVX2 computes one row of 672 bytes from pairs of rows, of which the",
		"first begins at rows. weights holds for each pair of rows the low halves and",
		"the high halves.")
	Pragma("noescape")
	out, rows := Load(Param("out"), GP64()), Load(Param("rows"), GP64())
	stride := Load(Param("stride"), GP64())
	round, zero := YMM(), YMM()
	VPBROADCASTD(half, round)
	VPXOR(zero, zero, zero)
	left := GP64()
	MOVQ(U32(rowBytes/32), left)

	Label("columns")
	k, pairs := Load(Param("weights"), GP64()), Load(Param("pairs"), GP64())
	at := GP64()
	MOVQ(rows, at)
	var low, high [4]reg.VecVirtual
	for i := range 4 {
		low[i], high[i] = YMM(), YMM()
		VMOVDQA(round, low[i])
		VPXOR(high[i], high[i], high[i])
	}
	Label("rows")
	a, b, kl, kh := YMM(), YMM(), YMM(), YMM()
	VMOVDQU(Mem{Base: at}, a)
	VMOVDQU(Mem{Base: at, Index: stride, Scale: 1}, b)
	VPBROADCASTD(Mem{Base: k}, kl)
	VPBROADCASTD(Mem{Base: k, Disp: 4}, kh)
	for i := range 2 {
		bytes := b
		if i == 0 {
			bytes = YMM()
			VPUNPCKLBW(b, a, bytes)
		} else {
			VPUNPCKHBW(b, a, bytes)
		}
		for j := range 2 {
			words, sum := YMM(), YMM()
			if j == 0 {
				VPUNPCKLBW(zero, bytes, words)
			} else {
				VPUNPCKHBW(zero, bytes, words)
			}
			VPMADDWD(kl, words, sum)
			VPADDD(sum, low[2*i+j], low[2*i+j])
			VPMADDWD(kh, words, words)
			VPADDD(words, high[2*i+j], high[2*i+j])
		}
	}
	LEAQ(Mem{Base: at, Index: stride, Scale: 2}, at)
	ADDQ(Imm(8), k)
	DECQ(pairs)
	JNZ(LabelRef("rows"))

	for i := range 4 {
		join(low[i], high[i])
	}
	VPACKSSDW(low[1], low[0], low[0])
	VPACKSSDW(low[3], low[2], low[2])
	VPACKUSWB(low[2], low[0], low[0])
	VMOVDQU(low[0], Mem{Base: out})
	ADDQ(Imm(32), out)
	ADDQ(Imm(32), rows)
	DECQ(left)
	JNZ(LabelRef("columns"))
	VZEROUPPER()
	RET()
}
