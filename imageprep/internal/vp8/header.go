package vp8

import (
	"errors"
	"fmt"
)

// ErrCorrupt is what every error of a decode but the context's matches.
var ErrCorrupt = errors.New("corrupt VP8")

func corrupt(what string) error { return fmt.Errorf("%w: %s", ErrCorrupt, what) }

const (
	segments      = 4
	maxPartitions = 8
	frameHeader   = 10 // bytes before the first partition
)

// frame is what stands before the macroblocks, section 9.
type frame struct {
	width, height int
	modes         reader // the first partition: behind the header, the modes
	partitions    []reader

	segmented, perMacroblock bool // whether there are segments, and whether macroblocks name theirs
	segmentProbs             [3]uint8
	absolute                 bool // quantizers and levels of segments stand for themselves
	quantizers, levels       [segments]int

	simple           bool
	level, sharpness int
	adjusted         bool
	referenceDelta   int // of the loop filter's level for key frames
	modeDelta        int // for macroblocks that predict 4x4 blocks apart

	steps     [segments]quantizer
	probs     [kinds]kindProbs
	skips     bool // macroblocks say whether they have no coefficients
	skipProb  uint8
	rowsMask  int // number of partitions, less 1
	mbw, mbh  int // size in macroblocks
	strengths [segments][2]strength
}

// quantizer holds the quantisation steps of one segment, DC and AC.
type quantizer struct{ y1, y2, uv [2]int32 }

func parseFrame(data []byte) (*frame, error) {
	if len(data) < frameHeader {
		return nil, corrupt("no header")
	}
	tag := uint32(data[0]) | uint32(data[1])<<8 | uint32(data[2])<<16
	switch {
	case tag&1 != 0:
		return nil, corrupt("not a key frame")
	case tag>>1&7 > 3:
		return nil, corrupt("unknown version")
	case tag>>4&1 == 0:
		return nil, corrupt("a frame that isn't shown")
	case data[3] != 0x9d || data[4] != 0x01 || data[5] != 0x2a:
		return nil, corrupt("no start code")
	}
	f := &frame{
		width:  int(data[6]) | int(data[7])<<8&0x3fff,
		height: int(data[8]) | int(data[9])<<8&0x3fff,
	}
	if f.width == 0 || f.height == 0 {
		return nil, corrupt("no pixels")
	}
	f.mbw, f.mbh = (f.width+15)/16, (f.height+15)/16
	first, rest := int(tag>>5), data[frameHeader:]
	if first > len(rest) {
		return nil, corrupt("a first partition longer than the file")
	}
	if impossible(rest[:first]) {
		return nil, errImpossible
	}
	f.modes = newReader(rest[:first])
	r := &f.modes
	r.flag() // colour space
	r.flag() // clamping: samples are clamped in any case
	f.parseSegments(r)
	f.parseFilter(r)
	if err := f.parsePartitions(1<<r.uint(2), rest[first:]); err != nil {
		return nil, err
	}
	f.parseSteps(r)
	r.flag() // whether the probabilities would outlive the frame
	f.parseProbs(r)
	if f.skips = r.flag(); f.skips {
		f.skipProb = uint8(r.uint(8))
	}
	if r.short {
		return nil, corrupt("the header's partition ends early")
	}
	f.strengthen()
	return f, nil
}

// parseSegments reads section 9.3. Segments without data of their own have
// quantizers and levels of 0, as to libwebp.
func (f *frame) parseSegments(r *reader) {
	f.segmentProbs = [3]uint8{255, 255, 255}
	if f.segmented = r.flag(); !f.segmented {
		return
	}
	f.perMacroblock = r.flag()
	f.absolute = true
	if r.flag() {
		f.absolute = r.flag()
		for i := range f.quantizers {
			f.quantizers[i] = r.optional(7)
		}
		for i := range f.levels {
			f.levels[i] = r.optional(6)
		}
	}
	if f.perMacroblock {
		for i := range f.segmentProbs {
			if r.flag() {
				f.segmentProbs[i] = uint8(r.uint(8))
			}
		}
	}
}

// parseFilter reads sections 9.3 and 9.6. Of the adjustments the first
// reference frame's and the first mode's are a key frame's.
func (f *frame) parseFilter(r *reader) {
	f.simple = r.flag()
	f.level, f.sharpness = r.uint(6), r.uint(3)
	if f.adjusted = r.flag(); !f.adjusted || !r.flag() {
		return
	}
	var deltas [8]int
	for i := range deltas {
		deltas[i] = r.optional(6)
	}
	f.referenceDelta, f.modeDelta = deltas[0], deltas[4]
}

var errImpossible = corrupt("a partition that no encoder writes")

// impossible reports whether a partition begins with more than the range that
// its arithmetic code begins with. What a decoder makes of that depends on the
// width of its registers.
func impossible(partition []byte) bool { return len(partition) > 0 && partition[0] == 0xFF }

// parsePartitions reads section 9.5: n partitions, whose sizes, but for the
// last one's, stand before them. One that is said to go beyond the end stops
// there; what it lacks is noticed when it is read.
func (f *frame) parsePartitions(n int, b []byte) error {
	sizes := 3 * (n - 1)
	if len(b) <= sizes {
		return corrupt("no coefficients")
	}
	body := b[sizes:]
	f.rowsMask = n - 1
	for i := range n {
		size := len(body)
		if i < n-1 {
			size = min(size, int(b[3*i])|int(b[3*i+1])<<8|int(b[3*i+2])<<16)
		} else if size == 0 {
			return corrupt("no coefficients")
		}
		if impossible(body[:size]) {
			return errImpossible
		}
		f.partitions = append(f.partitions, newReader(body[:size]))
		body = body[size:]
	}
	return nil
}

// parseSteps reads section 9.6 and computes the steps of each segment.
func (f *frame) parseSteps(r *reader) {
	base := r.uint(7)
	var delta [5]int
	for i := range delta {
		delta[i] = r.optional(4)
	}
	step := func(table *[128]int32, index, most int) int32 { return table[max(0, min(index, most))] }
	for i := range f.steps {
		q := base
		if f.segmented {
			if q = f.quantizers[i]; !f.absolute {
				q += base
			}
		}
		f.steps[i] = quantizer{
			y1: [2]int32{step(&dcSteps, q+delta[0], 127), step(&acSteps, q, 127)},
			y2: [2]int32{2 * step(&dcSteps, q+delta[1], 127), max(8, step(&acSteps, q+delta[2], 127)*155/100)},
			uv: [2]int32{step(&dcSteps, q+delta[3], 117), step(&acSteps, q+delta[4], 127)},
		}
	}
}

// parseProbs reads section 13.4 and lays the probabilities out by position.
func (f *frame) parseProbs(r *reader) {
	for k := range f.probs {
		probs := tokenProbs[k]
		for b := range probs {
			for c := range probs[b] {
				for i := range probs[b][c] {
					if r.bit(tokenUpdateProbs[k][b][c][i]) {
						probs[b][c][i] = uint8(r.uint(8))
					}
				}
			}
		}
		for i, band := range bandOf {
			for c := range probs[band] {
				copy(f.probs[k][i][c][:], probs[band][c][:])
			}
		}
	}
}
