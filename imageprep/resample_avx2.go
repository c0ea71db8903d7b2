//go:build amd64

package imageprep

import "golang.org/x/sys/cpu"

// fastestPasses chooses by what the processor can do.
func fastestPasses() passes {
	if cpu.X86.HasAVX2 {
		return avx2{}
	}
	return portable{}
}

// avx2 is the vectorised implementation, see resample_gen.go.
type avx2 struct{}

func (avx2) horizontal(a *axis, out0, out1, line0, line1 []byte) {
	from := 3 * a.start[0]
	_, _ = out0[rowBytes+3], out1[rowBytes+3]
	need := from + int(a.packed.last) + 12*a.packed.groups + 4
	_, _ = line0[need-1], line1[need-1]
	horizontalAVX2(&out0[0], &out1[0], &line0[from], &line1[from], &a.packed.start[0], &a.packed.across[0], a.packed.groups)
}

func (avx2) vertical(a *axis, i int, out, rows []byte) {
	pairs := a.packed.pairs
	_, _ = out[rowBytes-1], rows[(2*pairs-1)*rowStride+rowBytes-1]
	verticalAVX2(&out[0], &rows[0], rowStride, &a.packed.down[4*pairs*i], pairs)
}

// packedAxis holds the weights of an axis as the vectorised passes want them:
// in halves of 15 low bits and the rest, padded with zeros.
type packedAxis struct {
	start  [side]int32 // byte offsets of first samples, from the first of all
	last   int32       // the largest of start
	groups int         // of four samples that every position takes
	across []int16
	pairs  int // of rows that every position takes
	down   []int16
}

const weightLowBits = 15

func halves(w int32) (low, high int16) {
	return int16(w & (1<<weightLowBits - 1)), int16(w >> weightLowBits)
}

func packAxis(a *axis) *packedAxis {
	p := &packedAxis{groups: (a.taps + 3) / 4, pairs: (a.taps + 1) / 2}
	p.across = make([]int16, side*p.groups*8)
	p.down = make([]int16, side*p.pairs*4)
	for i, weights := range a.weight {
		p.start[i] = int32(3 * (a.start[i] - a.start[0]))
		p.last = max(p.last, p.start[i])
		for t, w := range weights {
			low, high := halves(w)
			across := p.across[((i/4*p.groups+t/4)*4+i%4)*8:]
			across[t%4], across[4+t%4] = low, high
			down := p.down[(i*p.pairs+t/2)*4:]
			down[t%2], down[2+t%2] = low, high
		}
	}
	return p
}
