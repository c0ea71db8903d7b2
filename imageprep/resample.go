package imageprep

//go:generate go run -modfile=../tools/gotools.mod resample_gen.go -out resample_amd64.s -stubs resample_amd64.go -pkg imageprep

// Rows wait for the vertical pass in blocks of blockRows. What lies where in a
// block is the implementation's affair; it may write a few bytes beyond its
// rows.
const (
	blockRows  = 4
	rowStride  = rowBytes + 32
	blockBytes = blockRows * rowStride
)

// lineSlack is how far beyond its last sample a row may be read. What lies
// there has weight zero.
const lineSlack = 16

// implementation is one way to compute the two passes over an axis. All give
// the same bytes.
type implementation struct {
	name    string
	prepare func(*axis) passes
}

// passes computes the passes over one axis. Samples and rows count from the
// first that the axis needs.
type passes interface {
	// scratch is how much memory horizontal needs.
	scratch() int
	// horizontal computes the 224 positions of four rows, of which each holds
	// the samples that the axis needs and lineSlack bytes more, into a block of
	// blockBytes.
	horizontal(block []byte, rows *[blockRows][]byte, scratch []byte)
	// vertical computes position i, of rowBytes, from the block that has its
	// first row and those that follow: blocksOf(taps), of which those behind
	// the position's last row have any content.
	vertical(i int, out, blocks []byte)
	// pack writes four rows of at most rowBytes, all equally long, into a block
	// as horizontal does, and unpack reads rowBytes of four rows back.
	pack(block []byte, rows *[blockRows][]byte)
	unpack(rows, block []byte)
}

// rowByRow is the layout of a block whose rows lie one behind the other.
type rowByRow struct{}

func (rowByRow) pack(block []byte, rows *[blockRows][]byte) {
	for i, row := range rows {
		copy(block[i*rowStride:][:rowBytes], row)
	}
}

func (rowByRow) unpack(rows, block []byte) {
	for i := range blockRows {
		copy(rows[i*rowBytes:][:rowBytes], block[i*rowStride:])
	}
}

// blocksOf is how many blocks a position may touch that takes taps rows from
// anywhere in the first.
func blocksOf(taps int) int { return (taps + 2*blockRows - 1) / blockRows }

// Resampler names the implementation that resizes on this processor. It decides
// about speed and nothing else.
func Resampler() string { return implementations()[0].name }

// portable is the reference: what Pillow's Resample.c computes, in Go.
var portable = implementation{"portable", func(a *axis) passes { return portablePasses{axis: a} }}

type portablePasses struct {
	*axis
	rowByRow
}

func (portablePasses) scratch() int { return 0 }

func (p portablePasses) horizontal(block []byte, rows *[blockRows][]byte, _ []byte) {
	for i, row := range rows {
		p.row(block[i*rowStride:][:rowBytes], row)
	}
}

func (p portablePasses) row(out, line []byte) {
	for i := range side {
		k := p.weight[i]
		px := line[3*(p.start[i]-p.start[0]):][:3*len(k)]
		r, g, b := int32(1<<(precisionBits-1)), int32(1<<(precisionBits-1)), int32(1<<(precisionBits-1))
		for _, w := range k {
			r += int32(px[0]) * w
			g += int32(px[1]) * w
			b += int32(px[2]) * w
			px = px[3:]
		}
		o := out[3*i : 3*i+3 : 3*i+3]
		o[0], o[1], o[2] = clip(r), clip(g), clip(b)
	}
}

func (p portablePasses) vertical(i int, out, blocks []byte) {
	rows := blocks[p.rowInBlock(i)*rowStride:]
	var sum [rowBytes]int32
	for j := range sum {
		sum[j] = 1 << (precisionBits - 1)
	}
	for t, w := range p.weight[i] {
		row := rows[t*rowStride:][:rowBytes]
		for j, v := range row {
			sum[j] += int32(v) * w
		}
	}
	out = out[:rowBytes]
	for j, s := range sum {
		out[j] = clip(s)
	}
}

// rowInBlock is where in its first block position i begins.
func (a *axis) rowInBlock(i int) int { return (a.start[i] - a.start[0]) % blockRows }

// clip rounds a sum of weighted samples to 8 bits.
func clip(v int32) byte {
	v >>= precisionBits
	if uint32(v) <= 255 {
		return byte(v)
	}
	if v < 0 {
		return 0
	}
	return 255
}
