//go:build ignore

// This program writes kernels_amd64.s and kernels_amd64.go: PNG's Paeth filter
// undone a pixel at a time, its channels side by side. Run it with
//
//	go generate ./imageprep/internal/png
//
// Each pixel waits for the one to its left, a, so the way from there is short:
// the nearest of a, b and c to a+b-c is told by where t = 3c-a-b lies between
// the smaller and the larger of a and b. It is the smaller where t isn't below
// the larger, the larger where t isn't above the smaller, and c in between. That
// holds for ties too, of which the format takes a before b before c; a test
// compares every a, b and c.
//
// Samples are words in which nothing overflows: t lies within -510 and 765. What
// is added to a prediction is added to all three, as bytes, which wraps as the
// format wants and leaves the words' upper halves zero.
package main

import (
	"fmt"

	"github.com/mmcloughlin/avo/attr"
	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

func main() {
	ConstraintExpr("amd64")
	for _, bpp := range []int{3, 4} {
		paeth(bpp)
	}
	Generate()
}

func paeth(bpp int) {
	TEXT(fmt.Sprintf("paeth%dAVX", bpp), attr.NOSPLIT, "func(row, prev *byte, pixels int)")
	Doc(fmt.Sprintf("paeth%dAVX undoes the filter for the first pixels of %d bytes. It reads eight", bpp, bpp),
		"bytes at each.")
	Pragma("noescape")
	row, prev, pixels := Load(Param("row"), GP64()), Load(Param("prev"), GP64()), Load(Param("pixels"), GP64())
	a, b, c, cur := XMM(), XMM(), XMM(), XMM() // left, above, above left, this
	VPXOR(a, a, a)
	VPXOR(c, c, c)
	Label("pixel")
	VPMOVZXBW(Mem{Base: prev}, b)
	VPMOVZXBW(Mem{Base: row}, cur)
	t, low, high := XMM(), XMM(), XMM()
	VPADDW(c, c, t)
	VPADDW(c, t, t)
	VPSUBW(b, t, t)
	VPADDB(c, cur, c)
	VPSUBW(a, t, t)
	VPMINSW(a, b, low)
	VPMAXSW(a, b, high)
	below, above := XMM(), XMM() // t below the larger, above the smaller
	VPCMPGTW(t, high, below)
	VPCMPGTW(low, t, above)
	VPADDB(low, cur, low)
	VPADDB(high, cur, high)
	VPBLENDVB(below, c, low, c)
	VPBLENDVB(above, c, high, a)
	VMOVDQA(b, c)
	bytes, out := XMM(), GP32()
	VPACKUSWB(a, a, bytes)
	VMOVD(bytes, out)
	if bpp == 4 {
		MOVL(out, Mem{Base: row})
	} else {
		MOVW(out.As16(), Mem{Base: row})
		SHRL(U8(16), out)
		MOVB(out.As8(), Mem{Base: row, Disp: 2})
	}
	ADDQ(Imm(uint64(bpp)), row)
	ADDQ(Imm(uint64(bpp)), prev)
	DECQ(pixels)
	JNZ(LabelRef("pixel"))
	RET()
}
