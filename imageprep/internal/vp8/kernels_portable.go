//go:build !amd64

package vp8

func (r *reader) blocks(
	p *kindProbs, steps *[2]int32, above, left *nonzero, out *[25 * 16]int16, first, from, to int,
) blocks {
	return r.blocksPortable(p, steps, above, left, out, first, from, to)
}

func (r *reader) subModes(sub *[16]uint8, above, left *[4]uint8) {
	r.subModesPortable(sub, above, left)
}

func addBlock(c *[16]int16, dst []byte, stride int)  { addBlockPortable(c, dst, stride) }
func addFour(c *[64]int16, dst []byte, stride int)   { addFourPortable(c, dst, stride) }
func addSquare(c *[64]int16, dst []byte, stride int) { addSquarePortable(c, dst, stride) }
func predictTM(pix []byte, at, stride, side int)     { predictTMPortable(pix, at, stride, side) }

func edgeLumaColumns(p []byte, at, stride int, s strength) { edgePortable(p, at, 1, stride, 16, s) }
func edgeLumaRows(p []byte, at, stride int, s strength)    { edgePortable(p, at, stride, 1, 16, s) }

func innerLumaColumns(p []byte, at, stride int, s strength) {
	innerLumaColumnsPortable(p, at, stride, s)
}

func innerLumaRows(p []byte, at, stride int, s strength) { innerLumaRowsPortable(p, at, stride, s) }

func edgeChromaColumns(u, v []byte, at, stride int, s strength) {
	edgePortable(u, at, 1, stride, 8, s)
	edgePortable(v, at, 1, stride, 8, s)
}

func edgeChromaRows(u, v []byte, at, stride int, s strength) {
	edgePortable(u, at, stride, 1, 8, s)
	edgePortable(v, at, stride, 1, 8, s)
}

func innerChromaColumns(u, v []byte, at, stride int, s strength) {
	innerPortable(u, at+4, 1, stride, 8, s)
	innerPortable(v, at+4, 1, stride, 8, s)
}

func innerChromaRows(u, v []byte, at, stride int, s strength) {
	innerPortable(u, at+4*stride, stride, 1, 8, s)
	innerPortable(v, at+4*stride, stride, 1, 8, s)
}

func upsampleFast(_, _, _ []byte) bool { return false }
func rgbFast(_, _, _, _ []byte) bool   { return false }
