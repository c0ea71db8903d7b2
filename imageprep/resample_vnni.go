//go:build amd64

package imageprep

import (
	"encoding/binary"
	"fmt"
)

// vnni takes four samples of four rows at a time, see resample_gen.go.
var vnni = implementation{"avx512-vnni", func(a *axis) passes { return newVNNIPasses(a) }}

// vnniPasses holds the weights in three digits of 8 bits, padded with zeros.
// Samples, and rows, come in groups of four that begin where the axis begins.
type vnniPasses struct {
	groups int         // of the whole axis
	first  [side]int32 // byte offsets of first groups
	taken  int         // groups that every position takes
	across []int8
	down   []int8
}

// groupBytes is what arrangeVNNI makes of four pixels of four rows.
const groupBytes = 64

func (p *vnniPasses) scratch() int { return p.groups * groupBytes }

func (p *vnniPasses) horizontal(block []byte, rows *[blockRows][]byte, scratch []byte) {
	_, _ = block[blockBytes-1], scratch[p.groups*groupBytes-1]
	for _, row := range rows {
		_ = row[12*p.groups+3]
	}
	arrangeVNNI(&scratch[0], &rows[0][0], &rows[1][0], &rows[2][0], &rows[3][0], p.groups)
	last := rows[blockRows-1]
	ahead := &last[len(last)-1] // the next rows, where these lie in an image
	horizontalVNNI(&block[0], &scratch[0], &p.first[0], &p.across[0], p.taken, ahead)
}

func (p *vnniPasses) vertical(i int, out, blocks []byte) {
	_, _ = out[rowBytes-1], blocks[(p.taken-1)*blockBytes+blockRows*rowBytes-1]
	verticalVNNI(&out[0], &blocks[0], blockBytes, &p.down[12*p.taken*i], p.taken)
}

// pack and unpack: a block has the four rows' bytes of each sample side by side.
func (*vnniPasses) pack(block []byte, rows *[blockRows][]byte) {
	r0 := rows[0]
	r1, r2, r3 := rows[1][:len(r0)], rows[2][:len(r0)], rows[3][:len(r0)]
	for j := range r0 {
		binary.LittleEndian.PutUint32(block[4*j:],
			uint32(r0[j])|uint32(r1[j])<<8|uint32(r2[j])<<16|uint32(r3[j])<<24)
	}
}

func (*vnniPasses) unpack(rows, block []byte) {
	for j := range rowBytes {
		v := binary.LittleEndian.Uint32(block[4*j:])
		rows[j], rows[rowBytes+j] = byte(v), byte(v>>8)
		rows[2*rowBytes+j], rows[3*rowBytes+j] = byte(v>>16), byte(v>>24)
	}
}

// digits returns w = d[0] + d[1]*2^8 + d[2]*2^16. Pillow's weights are far from
// what three digits cannot hold: the filter's are within -1/4 and 5/4 in units
// of 2^22, also at an edge, where a part of it is missing.
func digits(w int32) (d [3]int8) {
	const least, most = -128 * (1 + 1<<8 + 1<<16), 127 * (1 + 1<<8 + 1<<16)
	if w < least || w > most {
		panic(fmt.Sprintf("weight %d has more than three digits", w))
	}
	for i := range d {
		d[i] = int8(w)
		w = (w - int32(d[i])) >> 8
	}
	return d
}

func newVNNIPasses(a *axis) *vnniPasses {
	lo, hi := a.span()
	p := &vnniPasses{groups: (hi - lo + 3) / 4}
	for i := range side {
		p.taken = max(p.taken, (a.end(i)-lo+3)/4-(a.start[i]-lo)/4)
	}
	p.across = make([]int8, side*p.taken*12)
	p.down = make([]int8, side*p.taken*12)
	for i, weights := range a.weight {
		// The last positions take groups before their own instead of some
		// beyond the row.
		group := (a.start[i] - lo) / 4
		first := min(group, p.groups-p.taken)
		p.first[i] = int32(groupBytes * first)
		for t, w := range weights {
			at := (a.start[i]-lo)%4 + t
			across := p.across[((i/4*p.taken+group-first+at/4)*4+i%4)*12:]
			down := p.down[(i*p.taken+at/4)*12:]
			for j, d := range digits(w) {
				across[4*j+at%4], down[4*j+at%4] = d, d
			}
		}
	}
	return p
}
