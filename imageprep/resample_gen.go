//go:build ignore

// This program writes resample_amd64.s and resample_amd64.go: the passes of
// resample.go for AVX2 and for AVX-512 with VNNI. Run it with
//
//	go generate ./imageprep
//
// # Why AVX2 is exact
//
// A weight k has 22 bits of fraction and does not fit the 16-bit multiplier
// VPMADDWD, so it comes in two halves, k = high*2^15 + low with low in
// [0, 2^15). The sums of samples times low and of samples times high are kept
// apart, and joined as low + high<<15 at the end. Every operation is exact
// modulo 2^32, as every operation of the portable code is, so the two agree in
// every bit whatever the weights. A product of two pairs, at most
// 2*255*(2^15-1), does not saturate.
//
// # Why VNNI is exact
//
// VPDPBUSD multiplies four unsigned bytes by four signed ones and adds the
// products to 32 bits, modulo 2^32. So a weight comes in three digits,
// k = d0 + d1*2^8 + d2*2^16 with each in [-128, 127], the sums for each digit
// are kept apart and joined at the end, again exactly modulo 2^32. Four samples
// that are weighted together have to lie side by side: arrangeVNNI sees to
// that for the horizontal pass, which leaves its result so for the vertical
// one.
package main

import (
	"slices"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/ir"
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
	arrangeVNNI()
	horizontalVNNI(half)
	verticalVNNI(half)
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
	first := dwords("pixels01", 0xFF03FF00, 0xFF04FF01, 0xFF05FF02, 0xFFFFFFFF, 0xFF03FF00,
		0xFF04FF01, 0xFF05FF02, 0xFFFFFFFF)
	second := dwords("pixels23", 0xFF09FF06, 0xFF0AFF07, 0xFF0BFF08, 0xFFFFFFFF, 0xFF09FF06,
		0xFF0AFF07, 0xFF0BFF08, 0xFFFFFFFF)
	pack := dwords("packRGB", 0x04020100, 0x09080605, 0x0E0D0C0A, 0xFFFFFFFF, 0x04020100,
		0x09080605, 0x0E0D0C0A, 0xFFFFFFFF)

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

// arrangeVNNI takes four pixels of four rows at a time: a lane of 16 bytes
// belongs to a row.
func arrangeVNNI() {
	// Four pixels of RGB as r0 r1 r2 r3, g0 g1 g2 g3, b0 b1 b2 b3.
	planar := dwords("planar", 0x09060300, 0x0A070401, 0x0B080502, 0xFFFFFFFF, 0x09060300,
		0x0A070401, 0x0B080502, 0xFFFFFFFF)

	TEXT("arrangeVNNI", attr.NOSPLIT, "func(out, row0, row1, row2, row3 *byte, groups int)")
	Doc("arrangeVNNI writes, for every group of four pixels, 16 bytes of each row: four",
		"of red, four of green, four of blue and four zeros. It reads 16 bytes at each",
		"group of 12.")
	Pragma("noescape")
	out, groups := Load(Param("out"), GP64()), Load(Param("groups"), GP64())
	var rows [4]reg.Register
	for i, name := range []string{"row0", "row1", "row2", "row3"} {
		rows[i] = Load(Param(name), GP64())
	}
	mask := YMM()
	VMOVDQU(planar, mask)
	Label("arrange")
	for i := range 2 {
		px := YMM()
		VMOVDQU(Mem{Base: rows[2*i]}, px.AsX())
		VINSERTI128(U8(1), Mem{Base: rows[2*i+1]}, px, px)
		VPSHUFB(mask, px, px)
		VMOVDQU(px, Mem{Base: out, Disp: 32 * i})
	}
	for _, row := range rows {
		ADDQ(Imm(12), row)
	}
	ADDQ(Imm(64), out)
	DECQ(groups)
	JNZ(LabelRef("arrange"))
	VZEROUPPER()
	RET()
}

// horizontalVNNI computes four positions of four rows at a time: a lane of a
// register belongs to a row.
func horizontalVNNI(half Mem) {
	// The dwords of four lanes, transposed; then r g b x of four rows as four
	// r, four g and four b; then the three used dwords of each lane together.
	transpose := dwords("transpose", 0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15)
	channel := []uint32{0x0C080400, 0x0D090501, 0x0E0A0602, 0xFFFFFFFF}
	channels := dwords("channels", slices.Repeat(channel, 4)...)
	compact := dwords("compact", 0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 3, 7, 11, 15)

	TEXT("horizontalVNNI", attr.NOSPLIT, "func(out, in *byte, start *int32, weights *int8, groups int, ahead *byte)")
	Doc("horizontalVNNI computes the 224 positions of four rows that arrangeVNNI",
		"arranged. start holds the byte offset of the first group of each position;",
		"weights, for every four positions, groups times four times the three digits",
		"of four weights. It writes the four rows' bytes of each sample side by side,",
		"and 16 bytes beyond. Meanwhile memory from ahead on comes nearer: it is not",
		"read, so it may be any.")
	Pragma("noescape")
	out, start := Load(Param("out"), GP64()), Load(Param("start"), GP64())
	k := Load(Param("weights"), GP64())
	round, byRow, byChannel, together := ZMM(), ZMM(), ZMM(), ZMM()
	VPBROADCASTD(half, round)
	VMOVDQU32(transpose, byRow)
	VMOVDQU32(channels, byChannel)
	VMOVDQU32(compact, together)
	left := GP64()
	MOVQ(U32(side/4), left)
	ahead := Load(Param("ahead"), GP64())

	Label("quads")
	in, groups := Load(Param("in"), GP64()), Load(Param("groups"), GP64())
	var at [4]reg.GPVirtual
	var sums [4][3]reg.VecVirtual
	for i := range 4 {
		at[i] = GP64()
		MOVLQSX(Mem{Base: start, Disp: 4 * i}, at[i])
		sums[i] = zeroSums(round)
	}
	Label("weigh")
	PREFETCHT1(Mem{Base: ahead})
	ADDQ(Imm(64), ahead)
	for i := range 4 {
		px := ZMM()
		VMOVDQU32(Mem{Base: in, Index: at[i], Scale: 1}, px)
		for d, sum := range sums[i] {
			VPDPBUSD(Mem{Base: k, Disp: 12*i + 4*d}, px, sum)
		}
	}
	ADDQ(Imm(64), in)
	ADDQ(Imm(48), k)
	DECQ(groups)
	JNZ(LabelRef("weigh"))

	for _, s := range sums {
		joinDigits(s)
	}
	a, b := sums[0][0], sums[2][0]
	VPACKSSDW(sums[1][0], a, a)
	VPACKSSDW(sums[3][0], b, b)
	VPACKUSWB(b, a, a)
	VPERMD(a, byRow, a)
	VPSHUFB(byChannel, a, a)
	VPERMD(a, together, a)
	VMOVDQU32(a, Mem{Base: out})
	ADDQ(Imm(48), out)
	ADDQ(Imm(16), start)
	DECQ(left)
	JNZ(LabelRef("quads"))
	VZEROUPPER()
	RET()
}

// VPDPBUSD adds to sum the products of px's unsigned and weights' signed bytes.
// Weights in memory are four, for every lane. avo has no such instruction yet.
func VPDPBUSD(weights Op, px, sum reg.VecVirtual) {
	i := &ir.Instruction{
		Opcode: "VPDPBUSD", Operands: []Op{weights, px, sum},
		Inputs: []Op{weights, px, sum}, Outputs: []Op{sum}, ISA: []string{"AVX512_VNNI"},
	}
	if IsM(weights) {
		i.Suffixes = []string{"BCST"}
	}
	Instruction(i)
}

// zeroSums returns what joinDigits joins: for each digit a sum of nothing.
func zeroSums(round reg.VecVirtual) (sums [3]reg.VecVirtual) {
	for d := range sums {
		sums[d] = ZMM()
		if d == 0 {
			VMOVDQA32(round, sums[d])
		} else {
			VPXORD(sums[d], sums[d], sums[d])
		}
	}
	return sums
}

// joinDigits does what join does, for digits of 8 bits.
func joinDigits(sums [3]reg.VecVirtual) {
	VPSLLD(U8(8), sums[1], sums[1])
	VPSLLD(U8(16), sums[2], sums[2])
	VPADDD(sums[1], sums[0], sums[0])
	VPADDD(sums[2], sums[0], sums[0])
	VPSRAD(U8(precisionBits), sums[0], sums[0])
}

// verticalVNNI computes 112 samples of one row at a time.
func verticalVNNI(half Mem) {
	const vectors = 7 // of 16 samples

	TEXT("verticalVNNI", attr.NOSPLIT, "func(out, blocks *byte, stride int, weights *int8, count int)")
	Doc("verticalVNNI computes one row of 672 bytes from count blocks of four rows, as",
		"horizontalVNNI writes them. weights holds for each block the three digits of",
		"four weights.")
	Pragma("noescape")
	out, blocks := Load(Param("out"), GP64()), Load(Param("blocks"), GP64())
	stride := Load(Param("stride"), GP64())
	round, zero := ZMM(), ZMM()
	VPBROADCASTD(half, round)
	VPXORD(zero, zero, zero)
	left := GP64()
	MOVQ(U32(rowBytes/16/vectors), left)

	Label("samples")
	k, count := Load(Param("weights"), GP64()), Load(Param("count"), GP64())
	at := GP64()
	MOVQ(blocks, at)
	var sums [vectors][3]reg.VecVirtual
	for i := range sums {
		sums[i] = zeroSums(round)
	}
	Label("blocks")
	var digits [3]reg.VecVirtual
	for d := range digits {
		digits[d] = ZMM()
		VPBROADCASTD(Mem{Base: k, Disp: 4 * d}, digits[d])
	}
	for i := range sums {
		px := ZMM()
		VMOVDQU32(Mem{Base: at, Disp: 64 * i}, px)
		for d, sum := range sums[i] {
			VPDPBUSD(digits[d], px, sum)
		}
	}
	ADDQ(stride, at)
	ADDQ(Imm(12), k)
	DECQ(count)
	JNZ(LabelRef("blocks"))

	for i, s := range sums {
		joinDigits(s)
		VPMAXSD(zero, s[0], s[0])
		VPMOVUSDB(s[0], Mem{Base: out, Disp: 16 * i})
	}
	ADDQ(Imm(16*vectors), out)
	ADDQ(U32(64*vectors), blocks)
	DECQ(left)
	JNZ(LabelRef("samples"))
	VZEROUPPER()
	RET()
}
