package vp8

// The loop filter, section 15.

// strength is how a macroblock is filtered. edge and inner are the limits of
// the difference across an edge of macroblocks and of 4x4 blocks, interior that
// of differences beside it, and sharp the difference from which on only the two
// samples at the edge change.
type strength struct {
	edge, inner, interior, sharp uint8
	blocks                       bool // filter inside the macroblock too
}

// strengthen computes the strengths for each segment, for macroblocks with one
// mode and with many.
func (f *frame) strengthen() {
	for i := range f.strengths {
		base := f.level
		if f.segmented {
			if base = f.levels[i]; !f.absolute {
				base += f.level
			}
		}
		for split := range 2 {
			level := base
			if f.adjusted {
				level += f.referenceDelta + split*f.modeDelta
			}
			level = max(0, min(level, 63))
			if level == 0 {
				continue
			}
			interior := level
			if f.sharpness > 0 {
				interior >>= 1 + f.sharpness/5
				interior = min(interior, 9-f.sharpness)
			}
			interior = max(1, interior)
			s := &f.strengths[i][split]
			s.edge, s.inner, s.interior = uint8(2*(level+2)+interior), uint8(2*level+interior), uint8(interior)
			s.sharp = uint8(min(1, level/15) + min(1, level/40))
			s.blocks = split == 1
		}
	}
}

// filterRow filters a row of macroblocks.
func (d *decoder) filterRow(y int) {
	if d.frame.level == 0 { // whatever segments say
		return
	}
	for x, s := range d.strengths[y&1] {
		if s.edge == 0 {
			continue
		}
		luma := d.img.luma.at(16*x, 16*y)
		if d.frame.simple {
			filterSimple(&d.img.luma, luma, s, x > 0, y > 0)
			continue
		}
		chroma := d.img.cb.at(8*x, 8*y)
		filterNormal(d.img, luma, chroma, s, x > 0, y > 0)
	}
}

// filterSimple filters luma alone, and of each side of an edge one sample.
func filterSimple(p *plane, at int, s strength, left, top bool) {
	edge := func(from, across, along int, limit uint8) {
		for i := range 16 {
			at := from + i*along
			if nearby(p.pix, at, across, limit) {
				adjustTwo(p.pix, at, across)
			}
		}
	}
	if left {
		edge(at, 1, p.stride, s.edge)
	}
	for i := 4; s.blocks && i < 16; i += 4 {
		edge(at+i, 1, p.stride, s.inner)
	}
	if top {
		edge(at, p.stride, 1, s.edge)
	}
	for i := 4; s.blocks && i < 16; i += 4 {
		edge(at+i*p.stride, p.stride, 1, s.inner)
	}
}

// filterNormal filters the macroblock's square of each plane.
func filterNormal(img *Image, luma, chroma int, s strength, left, top bool) {
	y, u, v, ys, cs := img.luma.pix, img.cb.pix, img.cr.pix, img.luma.stride, img.cb.stride
	if left {
		edgeLumaColumns(y, luma, ys, s)
		edgeChromaColumns(u, v, chroma, cs, s)
	}
	if s.blocks {
		innerLumaColumns(y, luma, ys, s)
		innerChromaColumns(u, v, chroma, cs, s)
	}
	if top {
		edgeLumaRows(y, luma, ys, s)
		edgeChromaRows(u, v, chroma, cs, s)
	}
	if s.blocks {
		innerLumaRows(y, luma, ys, s)
		innerChromaRows(u, v, chroma, cs, s)
	}
}

// edgePortable filters n positions of an edge between macroblocks. Samples on
// both sides are across apart, positions along.
func edgePortable(p []byte, at, across, along, n int, s strength) {
	for ; n > 0; n-- {
		if level(p, at, across, s.edge, s.interior) {
			if steep(p, at, across, s.sharp) {
				adjustTwo(p, at, across)
			} else {
				adjustSix(p, at, across)
			}
		}
		at += along
	}
}

// innerPortable filters n positions of an edge between 4x4 blocks.
func innerPortable(p []byte, at, across, along, n int, s strength) {
	for ; n > 0; n-- {
		if level(p, at, across, s.inner, s.interior) {
			if steep(p, at, across, s.sharp) {
				adjustTwo(p, at, across)
			} else {
				adjustFour(p, at, across)
			}
		}
		at += along
	}
}

// innerLumaColumnsPortable and innerLumaRowsPortable filter the edges inside a
// macroblock.
func innerLumaColumnsPortable(p []byte, at, stride int, s strength) {
	for i := 4; i < 16; i += 4 {
		innerPortable(p, at+i, 1, stride, 16, s)
	}
}

func innerLumaRowsPortable(p []byte, at, stride int, s strength) {
	for i := 4; i < 16; i += 4 {
		innerPortable(p, at+i*stride, stride, 1, 16, s)
	}
}

func difference(a, b byte) int { return max(int(a), int(b)) - min(int(a), int(b)) }

// nearby reports whether the step at an edge is small enough to be filtered.
func nearby(p []byte, at, d int, limit uint8) bool {
	return 2*difference(p[at-d], p[at])+difference(p[at-2*d], p[at+d])/2 <= int(limit)
}

// level reports whether what lies beside the edge is smooth, too.
func level(p []byte, at, d int, limit, interior uint8) bool {
	i := int(interior)
	return nearby(p, at, d, limit) &&
		difference(p[at-4*d], p[at-3*d]) <= i && difference(p[at-3*d], p[at-2*d]) <= i &&
		difference(p[at-2*d], p[at-d]) <= i && difference(p[at+3*d], p[at+2*d]) <= i &&
		difference(p[at+2*d], p[at+d]) <= i && difference(p[at+d], p[at]) <= i
}

// steep reports whether either side changes a lot at the edge ("high edge
// variance").
func steep(p []byte, at, d int, sharp uint8) bool {
	return difference(p[at-2*d], p[at-d]) > int(sharp) || difference(p[at+d], p[at]) > int(sharp)
}

// signed takes a sample as -128 to 127, and sample brings that back.
func signed(v byte) int32    { return int32(v) - 128 }
func sample(v int32) byte    { return byte(saturate(v) + 128) }
func saturate(v int32) int32 { return max(-128, min(v, 127)) }

// adjustTwo changes one sample on either side.
func adjustTwo(p []byte, at, d int) {
	p1, p0, q0, q1 := signed(p[at-2*d]), signed(p[at-d]), signed(p[at]), signed(p[at+d])
	a := saturate(saturate(p1-q1) + 3*(q0-p0))
	p[at-d] = sample(p0 + saturate(a+3)>>3)
	p[at] = sample(q0 - saturate(a+4)>>3)
}

// adjustFour changes two samples on either side.
func adjustFour(p []byte, at, d int) {
	p1, p0, q0, q1 := signed(p[at-2*d]), signed(p[at-d]), signed(p[at]), signed(p[at+d])
	a := saturate(3 * (q0 - p0))
	f := saturate(a+4) >> 3
	p[at-d] = sample(p0 + saturate(a+3)>>3)
	p[at] = sample(q0 - f)
	f = (f + 1) >> 1
	p[at-2*d] = sample(p1 + f)
	p[at+d] = sample(q1 - f)
}

// adjustSix changes three samples on either side.
func adjustSix(p []byte, at, d int) {
	w := saturate(saturate(signed(p[at-2*d])-signed(p[at+d])) + 3*(signed(p[at])-signed(p[at-d])))
	for i, weight := range [3]int32{27, 18, 9} {
		f := (weight*w + 63) >> 7
		p[at-(i+1)*d] = sample(signed(p[at-(i+1)*d]) + f)
		p[at+i*d] = sample(signed(p[at+i*d]) - f)
	}
}
