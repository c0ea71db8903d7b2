package vp8

// Modes of 4x4 blocks, section 11.3; the first four are those of whole
// macroblocks too.
const (
	modeDC = iota
	modeTM
	modeVE
	modeHE
	modeLD
	modeRD
	modeVR
	modeVL
	modeHD
	modeHU
	subModes
)

// macroblock is what the first partition says of one.
type macroblock struct {
	segment uint8
	skip    bool // no coefficients
	split   bool // 4x4 blocks have modes of their own
	luma    uint8
	chroma  uint8
	sub     [16]uint8
}

// parseModes reads one row of macroblocks, sections 9.3.10 and 11. above holds
// the modes of the 4x4 blocks over the row, and then those of its lowest.
func (f *frame) parseModes(row []macroblock, above []uint8) {
	r := &f.modes
	var left [4]uint8
	for x := range row {
		m := &row[x]
		m.segment, m.skip, m.split = 0, false, false
		if f.perMacroblock {
			if !r.bit(f.segmentProbs[0]) {
				m.segment = uint8(r.one(f.segmentProbs[1]))
			} else {
				m.segment = 2 + uint8(r.one(f.segmentProbs[2]))
			}
		}
		if f.skips {
			m.skip = r.bit(f.skipProb)
		}
		up := (*[4]uint8)(above[4*x:])
		if !r.bit(145) {
			m.split = true
			r.subModes(&m.sub, up, &left)
		} else {
			m.luma = r.wholeMode(156, 163, 128)
			*up = [4]uint8{m.luma, m.luma, m.luma, m.luma}
			left = *up
		}
		switch {
		case !r.bit(142):
			m.chroma = modeDC
		case !r.bit(114):
			m.chroma = modeVE
		case !r.bit(183):
			m.chroma = modeHE
		default:
			m.chroma = modeTM
		}
	}
}

func (r *reader) wholeMode(p, low, high uint8) uint8 {
	switch {
	case r.bit(p):
		if r.bit(high) {
			return modeTM
		}
		return modeHE
	case r.bit(low):
		return modeVE
	}
	return modeDC
}

// subModesPortable is subModes for every processor.
func (r *reader) subModesPortable(sub *[16]uint8, above, left *[4]uint8) {
	for i := range sub {
		mode := r.subMode(&subModeProbs[above[i&3]][left[i>>2]])
		sub[i], above[i&3], left[i>>2] = mode, mode, mode
	}
}

func (r *reader) subMode(p *[16]uint8) uint8 {
	switch {
	case !r.bit(p[0]):
		return modeDC
	case !r.bit(p[1]):
		return modeTM
	case !r.bit(p[2]):
		return modeVE
	case r.bit(p[3]):
		switch {
		case !r.bit(p[6]):
			return modeLD
		case !r.bit(p[7]):
			return modeVL
		case !r.bit(p[8]):
			return modeHD
		}
		return modeHU
	case !r.bit(p[4]):
		return modeHE
	case !r.bit(p[5]):
		return modeRD
	}
	return modeVR
}
