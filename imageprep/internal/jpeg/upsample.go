package jpeg

// upsampler returns row y of a plane at full size, either the plane's own
// bytes or written to scratch.
//
// libjpeg's filter at the ends of a row knows the plane's true width, and
// above the first and below the last true row it repeats that row.
type upsampler func(c *component, y int, scratch []byte) []byte

// chooseUpsampler follows jdsample.c: triangle filters for 2:1 horizontally,
// vertically or both, except in planes of one or two columns; replication for
// every other ratio, and in images that shrink by 8. h and v are the size of an
// MCU in the image.
func chooseUpsampler(c *component, h, v int, triangles bool) upsampler {
	hx, vx := h/(c.h*c.size), v/(c.v*c.size)
	switch {
	case hx == 1 && vx == 1:
		return func(c *component, y int, _ []byte) []byte { return c.row(y) }
	case triangles && hx == 2 && vx == 1 && c.width > 2:
		return triangleH
	case triangles && hx == 1 && vx == 2:
		return triangleV
	case triangles && hx == 2 && vx == 2 && c.width > 2:
		return triangleHV
	}
	return func(c *component, y int, scratch []byte) []byte {
		return replicate(c.row(y/vx), scratch, hx)
	}
}

func (c *component) row(y int) []byte {
	y = max(0, min(y, c.height-1))
	return c.pix[y*c.stride():][:c.width]
}

// nearRows returns the plane's row that holds y of a plane of half the height,
// and the row that is next nearest.
func (c *component) nearRows(y int) (near, far []byte) {
	if y%2 == 0 {
		return c.row(y / 2), c.row(y/2 - 1)
	}
	return c.row(y / 2), c.row(y/2 + 1)
}

func replicate(in, out []byte, n int) []byte {
	for i, v := range in {
		for j := range n {
			out[i*n+j] = v
		}
	}
	return out
}

// triangleH weighs neighbours 3:1. The biases of 1 and 2 round halves up and
// down by turns.
func triangleH(c *component, y int, out []byte) []byte {
	in := c.row(y)
	last := len(in) - 1
	out = out[:2*len(in)]
	out[0] = in[0]
	out[1] = byte((int(in[0])*3 + int(in[1]) + 2) >> 2)
	filterH(in, out, 1+triangleHChunks(in, out))
	out[2*last] = byte((int(in[last])*3 + int(in[last-1]) + 1) >> 2)
	out[2*last+1] = in[last]
	return out
}

// filterH computes what lies between the ends, from sample first on.
func filterH(in, out []byte, first int) {
	for i := first; i < len(in)-1; i++ {
		v := int(in[i]) * 3
		out[2*i] = byte((v + int(in[i-1]) + 1) >> 2)
		out[2*i+1] = byte((v + int(in[i+1]) + 2) >> 2)
	}
}

// triangleV weighs the nearer row and the farther one 3:1.
func triangleV(c *component, y int, out []byte) []byte {
	near, far := c.nearRows(y)
	bias := 1 + y%2
	out = out[:len(near)]
	for i, v := range near {
		out[i] = byte((int(v)*3 + int(far[i]) + bias) >> 2)
	}
	return out
}

// triangleHV weighs the four neighbours 9:3:3:1.
func triangleHV(c *component, y int, out []byte) []byte {
	near, far := c.nearRows(y)
	far = far[:len(near)]
	column := func(i int) int { return int(near[i])*3 + int(far[i]) }
	last := len(near) - 1
	out = out[:2*len(near)]
	out[0] = byte((column(0)*4 + 8) >> 4)
	out[1] = byte((column(0)*3 + column(1) + 7) >> 4)
	filterHV(near, far, out, 1+triangleHVChunks(near, far, out))
	out[2*last] = byte((column(last)*3 + column(last-1) + 8) >> 4)
	out[2*last+1] = byte((column(last)*4 + 7) >> 4)
	return out
}

// filterHV computes what lies between the ends, from sample first on.
func filterHV(near, far, out []byte, first int) {
	last := len(near) - 1
	if first >= last {
		return
	}
	prev := int(near[first-1])*3 + int(far[first-1])
	this := int(near[first])*3 + int(far[first])
	for i := first; i < last; i++ {
		next := int(near[i+1])*3 + int(far[i+1])
		o := out[2*i : 2*i+2 : 2*i+2]
		o[0] = byte((this*3 + prev + 8) >> 4)
		o[1] = byte((this*3 + next + 7) >> 4)
		prev, this = this, next
	}
}
