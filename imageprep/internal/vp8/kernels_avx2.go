//go:build amd64

package vp8

import "golang.org/x/sys/cpu"

// chunk is how many samples the kernels for rows take at once.
const chunk = 16

func addBlock(c *[16]int16, dst []byte, stride int) {
	if !cpu.X86.HasAVX2 {
		addBlockPortable(c, dst, stride)
		return
	}
	_ = dst[3*stride+3]
	addBlockAVX2(&c[0], &dst[0], stride)
}

func addFour(c *[64]int16, dst []byte, stride int) {
	if !cpu.X86.HasAVX2 {
		addFourPortable(c, dst, stride)
		return
	}
	_ = dst[3*stride+15]
	addFourAVX2(&c[0], &dst[0], stride)
}

func addSquare(c *[64]int16, dst []byte, stride int) {
	if !cpu.X86.HasAVX2 {
		addSquarePortable(c, dst, stride)
		return
	}
	_ = dst[7*stride+7]
	addSquareAVX2(&c[0], &dst[0], stride)
}

func predictTM(pix []byte, at, stride, side int) {
	if !cpu.X86.HasAVX2 {
		predictTMPortable(pix, at, stride, side)
		return
	}
	// The kernel reads 16 samples above whatever the side is.
	_, _ = pix[at-stride-1], pix[at+(side-1)*stride+15]
	if side == 16 {
		predictTM16AVX2(&pix[at], stride)
	} else {
		predictTM8AVX2(&pix[at], stride)
	}
}

// Kernels of columns read 16 samples of each row, from four before the edge on.

func edgeLumaColumns(p []byte, at, stride int, s strength) {
	if !cpu.X86.HasAVX2 {
		edgePortable(p, at, 1, stride, 16, s)
		return
	}
	_, _ = p[at-4], p[at+15*stride+11]
	edgeLumaColumnsAVX2(&p[at], stride, s.edge, s.interior, s.sharp)
}

func innerLumaColumns(p []byte, at, stride int, s strength) {
	if !cpu.X86.HasAVX2 {
		innerLumaColumnsPortable(p, at, stride, s)
		return
	}
	_, _ = p[at], p[at+15*stride+23]
	innerLumaColumnsAVX2(&p[at+4], stride, s.inner, s.interior, s.sharp)
}

func edgeLumaRows(p []byte, at, stride int, s strength) {
	if !cpu.X86.HasAVX2 {
		edgePortable(p, at, stride, 1, 16, s)
		return
	}
	_, _ = p[at-4*stride], p[at+3*stride+15]
	edgeLumaRowsAVX2(&p[at], stride, s.edge, s.interior, s.sharp)
}

func innerLumaRows(p []byte, at, stride int, s strength) {
	if !cpu.X86.HasAVX2 {
		innerLumaRowsPortable(p, at, stride, s)
		return
	}
	_, _ = p[at], p[at+15*stride+15]
	innerLumaRowsAVX2(&p[at+4*stride], stride, s.inner, s.interior, s.sharp)
}

func edgeChromaColumns(u, v []byte, at, stride int, s strength) {
	if !cpu.X86.HasAVX2 {
		edgePortable(u, at, 1, stride, 8, s)
		edgePortable(v, at, 1, stride, 8, s)
		return
	}
	_, _, _, _ = u[at-4], u[at+7*stride+11], v[at-4], v[at+7*stride+11]
	edgeChromaColumnsAVX2(&u[at], &v[at], stride, s.edge, s.interior, s.sharp)
}

func innerChromaColumns(u, v []byte, at, stride int, s strength) {
	if !cpu.X86.HasAVX2 {
		innerPortable(u, at+4, 1, stride, 8, s)
		innerPortable(v, at+4, 1, stride, 8, s)
		return
	}
	_, _, _, _ = u[at], u[at+7*stride+15], v[at], v[at+7*stride+15]
	innerChromaColumnsAVX2(&u[at+4], &v[at+4], stride, s.inner, s.interior, s.sharp)
}

func edgeChromaRows(u, v []byte, at, stride int, s strength) {
	if !cpu.X86.HasAVX2 {
		edgePortable(u, at, stride, 1, 8, s)
		edgePortable(v, at, stride, 1, 8, s)
		return
	}
	_, _, _, _ = u[at-4*stride], u[at+3*stride+7], v[at-4*stride], v[at+3*stride+7]
	edgeChromaRowsAVX2(&u[at], &v[at], stride, s.edge, s.interior, s.sharp)
}

func innerChromaRows(u, v []byte, at, stride int, s strength) {
	if !cpu.X86.HasAVX2 {
		innerPortable(u, at+4*stride, stride, 1, 8, s)
		innerPortable(v, at+4*stride, stride, 1, 8, s)
		return
	}
	_, _, _, _ = u[at], u[at+7*stride+7], v[at], v[at+7*stride+7]
	innerChromaRowsAVX2(&u[at+4*stride], &v[at+4*stride], stride, s.inner, s.interior, s.sharp)
}

// upsampleFast computes what lies between the ends and reports whether it did.
// The last chunk overlaps the one before where it has to.
func upsampleFast(near, far, out []byte) bool {
	pairs := len(near) - 1
	if !cpu.X86.HasAVX2 || pairs < chunk {
		return false
	}
	_, _ = far[pairs], out[2*pairs]
	upsampleAVX2(&near[0], &far[0], &out[1], pairs/chunk)
	if rest := pairs - chunk; pairs%chunk != 0 {
		upsampleAVX2(&near[rest], &far[rest], &out[2*rest+1], 1)
	}
	return true
}

// rgbFast converts a row and reports whether it did.
func rgbFast(dst, y, cb, cr []byte) bool {
	n := len(y)
	if !cpu.X86.HasAVX2 || n < chunk {
		return false
	}
	_, _, _ = dst[3*n-1], cb[n-1], cr[n-1]
	toRGBAVX2(&dst[0], &y[0], &cb[0], &cr[0], n/chunk)
	if rest := n - chunk; n%chunk != 0 {
		toRGBAVX2(&dst[3*rest], &y[rest], &cb[rest], &cr[rest], 1)
	}
	return true
}
