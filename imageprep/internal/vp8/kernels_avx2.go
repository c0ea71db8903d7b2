//go:build amd64

package vp8

import "golang.org/x/sys/cpu"

// chunk is how many samples the kernels for rows take at once.
const chunk = 16

// tokenTables is what the decoder of coefficients looks up. The kernel knows
// where each part lies.
type tokenTables struct {
	// behind has, for a probability and a range, the range after the decision: for
	// false and then for true, ranges from 128 on. Decisions depend on one another by
	// their ranges, and one load takes half the time of computing the next.
	behind      [256][2][128]uint8
	zigzag      [positions]uint8
	above, left [32]uint8
	small       [16]uint8    // the probabilities of the bits of "cat1" and "cat2"
	large       [4][16]uint8 // extraProbs, each with a 0 behind it
}

var tables = newTokenTables()

func newTokenTables() *tokenTables {
	t := &tokenTables{zigzag: zigzag, small: [16]uint8{159, 165, 145}}
	for p := range t.behind {
		for i := range t.behind[p][0] {
			span := i + 127 // the range, less 1
			split := span * p >> 8
			t.behind[p][0][i], t.behind[p][1][i] = normSpan[split], setSpan[span-split]
		}
	}
	copy(t.above[:], aboveOf[:])
	copy(t.left[:], leftOf[:])
	for i, probs := range extraProbs {
		copy(t.large[i][:], probs)
	}
	return t
}

// blocks decodes the blocks of one kind between two of a macroblock, each from
// position first on, and returns which have coefficients. Where the end is near,
// a block goes the portable way.
func (r *reader) blocks(
	p *kindProbs, steps *[2]int32, above, left *nonzero, out *[25 * 16]int16, first, from, to int,
) (coded blocks) {
	if !cpu.X86.HasBMI2 {
		return r.blocksPortable(p, steps, above, left, out, first, from, to)
	}
	for len(r.data) >= maxBlock {
		done := tokensBMI2(&r.value, &tables.behind[0][0][0], &p[0][0][0], &steps[0], &above[0], &left[0], &out[0],
			first, from, to)
		coded |= blocks(done & (1<<32 - 1))
		if from = int(done >> 32); from == to {
			return coded
		}
		coded |= r.blocksPortable(p, steps, above, left, out, first, from, from+1)
		if from++; from == to {
			return coded
		}
	}
	return coded | r.blocksPortable(p, steps, above, left, out, first, from, to)
}

// maxSubModes is more than the modes of 16 blocks can take in bytes, with what
// one load reads ahead: a mode takes up to 7 decisions.
const maxSubModes = 128

// subModes reads the modes of a macroblock's 4x4 blocks. above and left are those
// of the blocks beside it, and then its own.
func (r *reader) subModes(sub *[16]uint8, above, left *[4]uint8) {
	if !cpu.X86.HasBMI2 || len(r.data)-r.at < maxSubModes {
		r.subModesPortable(sub, above, left)
		return
	}
	subModesBMI2(&r.value, &tables.behind[0][0][0], &subModeProbs[0][0][0], &sub[0], &above[0], &left[0])
}

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
