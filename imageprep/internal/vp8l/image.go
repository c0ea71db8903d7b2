package vp8l

import "github.com/agiqa/agiqa/imageprep/internal/pool"

// Image is a decoded picture. It is not for use by several goroutines at once.
type Image struct {
	Width, Height int
	pool          *pool.Pool[uint32]
	pix           []uint32
	stride        int
	transforms    []transform // in the order of the file
	stages        []stage     // to undo them, the last one first
	scratch       []uint32
	next          int // the row that comes next
}

// stage undoes one transform of a row at a time.
type stage struct {
	transform
	out   []uint32 // a row and slack; nil where the transform works in place
	above []uint32 // the row before it, from the pixel before the first on; of a predictor
}

// prepare lays the stages' rows out.
func (img *Image) prepare() {
	// A predictor has a pixel before and pixels behind each of two rows.
	row := img.Width + 1 + slack
	img.scratch = img.pool.Get(row * (1 + 3*len(img.transforms)))
	rest := img.scratch
	take := func() []uint32 {
		r := rest[:row]
		rest = rest[row:]
		return r
	}
	img.stages = append(img.stages, stage{transform: transform{kind: -1, width: img.stride}, out: take()})
	for i := len(img.transforms) - 1; i >= 0; i-- {
		s := stage{transform: img.transforms[i]}
		switch s.kind {
		case predictor:
			s.out, s.above = take(), take()
		case colourIndexing:
			s.out = take()
		default:
			if img.stages[len(img.stages)-1].kind == predictor { // whose rows have to stay
				s.out = take()
			}
		}
		img.stages = append(img.stages, s)
	}
}

// Release gives the memory of the pixels back. The image must not be used any
// more.
func (img *Image) Release() {
	img.pool.Put(img.pix)
	img.pool.Put(img.scratch)
	for _, t := range img.transforms {
		if t.kind != colourIndexing {
			img.pool.Put(t.data)
		}
	}
	img.pix, img.scratch, img.transforms, img.stages = nil, nil, nil, nil
}

// Row writes row y as RGB, 3*Width bytes. Rows are cheap from top to bottom; to
// go back means to start again.
func (img *Image) Row(y int, dst []byte) {
	if y < img.next {
		img.next = 0
	}
	var row []uint32
	for ; img.next <= y; img.next++ {
		row = img.undo(img.next)
	}
	toRGB(dst[:3*img.Width], row)
}

// undo runs a row through the stages and returns its pixels.
func (img *Image) undo(y int) []uint32 {
	var row []uint32
	for i := range img.stages {
		s := &img.stages[i]
		switch s.kind {
		case subtractGreen:
			row = s.copied(row)
			addGreen(row)
		case crossColour:
			row = s.copied(row)
			s.eachTile(y, func(from, to int, v uint32) { addCross(row[from:to], v) })
		case predictor:
			row = s.predict(y, row)
		case colourIndexing:
			row = s.lookUp(row)
		default:
			row = s.out[:s.width]
			copy(row, img.pix[y*img.stride:])
		}
	}
	return row
}

// copied returns the row to work on.
func (s *stage) copied(row []uint32) []uint32 {
	if s.out == nil {
		return row
	}
	return s.out[:copy(s.out[:s.width], row)]
}

// eachTile calls do for each tile's part of a row.
func (s *stage) eachTile(y int, do func(from, to int, v uint32)) {
	data := s.data[y>>s.bits*tiles(s.width, s.bits):]
	for i, from := 0, 0; from < s.width; i, from = i+1, from+1<<s.bits {
		do(from, min(s.width, from+1<<s.bits), data[i])
	}
}

// predict adds the predictions to a row of differences. The first row and the
// first column have predictors of their own.
func (s *stage) predict(y int, in []uint32) []uint32 {
	s.out, s.above = s.above, s.out
	out := s.out
	if y == 0 {
		out[0] = opaque
		predict(0, in[:1], s.above, out)
		predict(1, in[1:], s.above[1:], out[1:])
		return out[1:][:s.width]
	}
	out[1] = addPixels(in[0], s.above[1])
	// Right of the last pixel above lies the first of this row.
	s.above[s.width+1] = out[1]
	s.eachTile(y, func(from, to int, v uint32) {
		from = max(from, 1)
		if from < to {
			predict(v>>8&15, in[from:to], s.above[from:], out[from:])
		}
	})
	return out[1:][:s.width]
}

// lookUp finds the colours of indices, which stand in green, 1<<bits to a pixel.
func (s *stage) lookUp(in []uint32) []uint32 {
	out, width := s.out[:s.width], uint(8)>>s.bits
	palette, mask := (*[256]uint32)(s.data), uint32(1)<<width-1
	for i, v := range in {
		v = v >> 8 & 0xff
		part := out[i<<s.bits : min(len(out), (i+1)<<s.bits)]
		for k := range part {
			part[k] = palette[v&mask]
			v >>= width
		}
	}
	return out
}
