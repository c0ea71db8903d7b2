package imageprep

//go:generate go run -modfile=../tools/go.mod resample_gen.go -out resample_amd64.s -stubs resample_amd64.go -pkg imageprep

// rowStride is the distance between rows that wait for the vertical pass: a
// vectorised pass may write a few bytes beyond a row.
const rowStride = rowBytes + 32

// lineSlack is how far beyond the last sample of a line a vectorised pass may
// read, when a position takes taps samples. What lies there has weight zero.
func lineSlack(taps int) int { return 3*(taps+4) + 16 }

// passes is one implementation of the two passes. All give the same bytes.
type passes interface {
	// horizontal computes the 224 positions of two rows. The lines hold
	// lineSlack bytes more than their samples, the outputs rowStride bytes.
	horizontal(a *axis, out0, out1, line0, line1 []byte)
	// vertical computes position i from rows, rowStride apart, of which the
	// first is the position's first; there are at least taps+1, those beyond
	// the position's own with any content. out holds rowBytes.
	vertical(a *axis, i int, out, rows []byte)
}

// portable is the reference: what Pillow's Resample.c computes, in Go.
type portable struct{}

func (portable) horizontal(a *axis, out0, out1, line0, line1 []byte) {
	a.horizontal(out0, line0)
	a.horizontal(out1, line1)
}

func (a *axis) horizontal(out, line []byte) {
	for i := range side {
		k := a.weight[i]
		px := line[3*a.start[i]:][:3*len(k)]
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

func (portable) vertical(a *axis, i int, out, rows []byte) {
	var sum [rowBytes]int32
	for j := range sum {
		sum[j] = 1 << (precisionBits - 1)
	}
	for t, w := range a.weight[i] {
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
