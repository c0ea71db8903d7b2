//go:build amd64

package imageprep

// avx2 takes four samples of two rows at a time, see resample_gen.go.
var avx2 = implementation{"avx2", func(a *axis) passes { return newAVX2Passes(a) }}

// avx2Passes holds the weights in halves of 15 low bits and the rest, padded
// with zeros.
type avx2Passes struct {
	*axis
	rowByRow
	first  [side]int32 // byte offsets of first samples, from the first of all
	reads  int         // bytes of a row
	groups int         // of four samples that every position takes
	across []int16
	pairs  int // of rows that every position takes
	down   []int16
}

func (*avx2Passes) scratch() int { return 0 }

func (p *avx2Passes) horizontal(block []byte, rows *[blockRows][]byte, _ []byte) {
	_ = block[blockBytes-1]
	for _, row := range rows {
		_ = row[p.reads-1]
	}
	for i := 0; i < blockRows; i += 2 {
		horizontalAVX2(&block[i*rowStride], &block[(i+1)*rowStride], &rows[i][0], &rows[i+1][0],
			&p.first[0], &p.across[0], p.groups)
	}
}

func (p *avx2Passes) vertical(i int, out, blocks []byte) {
	rows := blocks[p.rowInBlock(i)*rowStride:]
	_, _ = out[rowBytes-1], rows[(2*p.pairs-1)*rowStride+rowBytes-1]
	verticalAVX2(&out[0], &rows[0], rowStride, &p.down[4*p.pairs*i], p.pairs)
}

const weightLowBits = 15

func halves(w int32) (low, high int16) {
	return int16(w & (1<<weightLowBits - 1)), int16(w >> weightLowBits)
}

func newAVX2Passes(a *axis) *avx2Passes {
	p := &avx2Passes{axis: a, groups: (a.taps + 3) / 4, pairs: (a.taps + 1) / 2}
	p.across = make([]int16, side*p.groups*8)
	p.down = make([]int16, side*p.pairs*4)
	for i, weights := range a.weight {
		// The last positions take samples before their own instead of reading
		// far beyond the row.
		lo, hi := a.span()
		first := min(a.start[i], max(lo, hi-4*p.groups))
		p.first[i] = int32(3 * (first - lo))
		p.reads = max(p.reads, int(p.first[i])+12*p.groups+4)
		for t, w := range weights {
			low, high := halves(w)
			u := a.start[i] - first + t
			across := p.across[((i/4*p.groups+u/4)*4+i%4)*8:]
			across[u%4], across[4+u%4] = low, high
			down := p.down[(i*p.pairs+t/2)*4:]
			down[t%2], down[2+t%2] = low, high
		}
	}
	return p
}
