package vp8

// Strength is how an edge is filtered.
type Strength = strength

// NewStrength gives limits of edges, of 4x4 blocks' edges, of differences
// beside them, and the difference that counts as steep.
func NewStrength(edge, inner, interior, sharp uint8) Strength {
	return Strength{edge: edge, inner: inner, interior: interior, sharp: sharp, blocks: true}
}

// The kernels, as this processor runs them and as portable Go.
var (
	AddBlock, AddBlockPortable   = addBlock, addBlockPortable
	AddFour, AddFourPortable     = addFour, addFourPortable
	AddSquare, AddSquarePortable = addSquare, addSquarePortable
	PredictTM, PredictTMPortable = predictTM, predictTMPortable
	UpsampleFast, Upsample       = upsampleFast, upsamplePortable
	RGBFast, RGB                 = rgbFast, rgbPortable
	PredictBlock                 = predictBlock
)

// EdgePortable and InnerPortable filter n positions.
var EdgePortable, InnerPortable = edgePortable, innerPortable

// The filters of whole macroblocks' sides.
var (
	EdgeLumaColumns, InnerLumaColumns     = edgeLumaColumns, innerLumaColumns
	EdgeLumaRows, InnerLumaRows           = edgeLumaRows, innerLumaRows
	EdgeChromaColumns, InnerChromaColumns = edgeChromaColumns, innerChromaColumns
	EdgeChromaRows, InnerChromaRows       = edgeChromaRows, innerChromaRows
)

// KindProbs are the probabilities of tokens.
type KindProbs = kindProbs

// Reader decodes blocks.
type Reader struct{ r reader }

// NewReader reads data.
func NewReader(data []byte) *Reader { return &Reader{newReader(data)} }

// Block decodes one block, fast where the end is far, or always the plain way.
func (r *Reader) Block(fast bool, p *KindProbs, ctx, first int, steps *[2]int32, out *[16]int16) int {
	if fast {
		return r.r.coefficients(p, ctx, first, steps, out)
	}
	return r.r.coefficientsNearEnd(p, ctx, first, steps, out)
}

// Nonzero is what the blocks beside a macroblock have, and Coefficients are those
// of its own.
type (
	Nonzero      = nonzero
	Coefficients = [25 * 16]int16
)

// Blocks decodes blocks of a macroblock, as this processor does or as portable Go.
func (r *Reader) Blocks(
	fast bool, p *KindProbs, steps *[2]int32, above, left *Nonzero, out *Coefficients, first, from, to int,
) uint32 {
	if fast {
		return uint32(r.r.blocks(p, steps, above, left, out, first, from, to))
	}
	return uint32(r.r.blocksPortable(p, steps, above, left, out, first, from, to))
}

// SubModes decodes the modes of 4x4 blocks, as this processor does or as portable
// Go.
func (r *Reader) SubModes(fast bool, sub *[16]uint8, above, left *[4]uint8) {
	if fast {
		r.r.subModes(sub, above, left)
	} else {
		r.r.subModesPortable(sub, above, left)
	}
}

// State is all that later decisions depend on: the next eight bits, the range,
// how many bits are left, and whether there were too few.
func (r *Reader) State() (value, span uint64, left int, short bool) {
	ahead := r.r
	ahead.fill()
	return ahead.value >> 56, r.r.span, 8*(len(r.r.data)-r.r.at) + r.r.n, r.r.short
}

// Steps parses a frame's header and returns the steps of luma's DC and AC in the
// first segment, and the limit of an edge's step.
func Steps(data []byte) (steps [2]int32, edge uint8, err error) {
	f, err := parseFrame(data)
	if err != nil {
		return steps, 0, err
	}
	return f.steps[0].y1, f.strengths[0][0].edge, nil
}
