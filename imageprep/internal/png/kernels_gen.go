//go:build ignore

// This program writes kernels_amd64.s and kernels_amd64.go: PNG's Paeth filter
// undone a pixel at a time, its channels side by side. Run it with
//
//	go generate ./imageprep/internal/png
//
// Samples are words in which nothing overflows: differences lie within
// +-510. Adding the prediction as bytes wraps as the format wants and leaves the
// words' upper halves zero.
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
	pa, pb, pc, least := XMM(), XMM(), XMM(), XMM()
	VPSUBW(c, b, pa)
	VPSUBW(c, a, pb)
	VPADDW(pa, pb, pc)
	VPABSW(pa, pa)
	VPABSW(pb, pb)
	VPABSW(pc, pc)
	VPMINSW(pa, pb, least)
	VPMINSW(pc, least, least)
	VPCMPEQW(pa, least, pa)
	VPCMPEQW(pb, least, pb)
	VPBLENDVB(pb, b, c, c)
	VPBLENDVB(pa, a, c, c)
	VPADDB(c, cur, a)
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
