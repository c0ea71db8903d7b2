package imageprep

import (
	"context"
	"sync"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
	"github.com/agiqa/agiqa/quality"
)

// resizer scales and crops. It is safe for use by several goroutines.
type resizer struct {
	implementation implementation
	scratch        *pool.Pool[byte]

	mu   sync.Mutex
	axes map[axisKey]*preparedAxis
}

// preparedAxis is an axis with the passes over it.
type preparedAxis struct {
	*axis
	passes
}

// maxAxes bounds the tables that are kept. The largest one, of a side of 5000
// samples, takes a quarter of a megabyte.
const maxAxes = 64

func newResizer(i implementation, scratch *pool.Pool[byte]) *resizer {
	return &resizer{implementation: i, scratch: scratch, axes: make(map[axisKey]*preparedAxis)}
}

// axis returns a table, from those kept when it is among them.
func (r *resizer) axis(key axisKey) *preparedAxis {
	r.mu.Lock()
	a := r.axes[key]
	r.mu.Unlock()
	if a != nil {
		return a
	}
	weights := newAxis(key)
	a = &preparedAxis{weights, r.implementation.prepare(weights)}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.axes) >= maxAxes {
		for other := range r.axes { // any: which sizes come next is not known
			delete(r.axes, other)
			break
		}
	}
	r.axes[key] = a
	return a
}

// cut scales src and cuts views out of it: 224x224x3 bytes for each, in their
// order. It computes only what the views show, in two passes with 8 bits
// between them, as Pillow's Resample.c does. Rows are asked for once each and
// from top to bottom, however many views and sizes need them, and kept only
// until the vertical passes have used them.
func (r *resizer) cut(ctx context.Context, src raster, views []quality.View) ([][]byte, error) {
	w, h := src.size()
	cuts := make([]cutter, len(views))
	rows := rowsOf(src)
	inCuts, inScratch := 0, 0
	first, last := h, 0
	for i, v := range views {
		p := placeOf(w, h, v)
		across, down := r.axis(axisKey{w, p.width, p.left}), r.axis(axisKey{h, p.height, p.top})
		if verticalFirst(w, h, p, v.Recipe()) {
			cuts[i] = newTallCut(across, down)
		} else {
			cuts[i] = newCut(across, down)
		}
		lo, hi, reach := cuts[i].needs()
		first, last = min(first, lo), max(last, hi)
		rows.reach = max(rows.reach, reach)
		inCuts += cuts[i].size()
		inScratch = max(inScratch, across.scratch())
	}
	buf := r.scratch.Get(inCuts + inScratch + rows.size())
	defer r.scratch.Put(buf)
	rest := buf
	for _, c := range cuts {
		c.use(rest[:c.size()])
		rest = rest[c.size():]
	}
	scratch := rest[:inScratch]
	rows.buf = rest[inScratch:]

	for y := first; y < last; y++ {
		have := false
		for _, c := range cuts {
			if lo, hi, _ := c.needs(); y < lo || y >= hi {
				continue
			}
			if !have {
				if err := ctx.Err(); err != nil {
					return nil, err
				}
				rows.read(y)
				have = true
			}
			c.add(y, rows, scratch)
		}
	}
	out := make([][]byte, len(cuts))
	for i, c := range cuts {
		out[i] = c.pixels()
	}
	return out, nil
}

// verticalFirst says which pass a recipe begins with, for a picture of w x h.
// Pillow 13 saves work where the height shrinks by more than twice as many
// pixels as the width: its Resample.c compares just these.
func verticalFirst(w, h int, p place, recipe quality.Recipe) bool {
	shrink := int64(h) - p.height
	return recipe == quality.Pillow13 && shrink > 0 && shrink > 2*(int64(w)-p.width)
}

// cutter makes one view of a picture while its rows come by.
type cutter interface {
	// needs says which rows it wants, and how many bytes of each.
	needs() (lo, hi, reach int)
	// size is how much memory it wants, and use is where it gets that.
	size() int
	use(memory []byte)
	// add takes row y, which is the next one.
	add(y int, rows *rows, scratch []byte)
	// pixels is the view, when every row has been added.
	pixels() []byte
}

// span is the part of a picture that a view needs.
type span struct {
	lo, hi  int               // rows
	from, n int               // bytes of a row: the first, and how many
	block   [blockRows][]byte // the rows that were completed last
}

func spanOf(across, down *preparedAxis) span {
	left, right := across.span()
	s := span{from: 3 * left, n: 3 * (right - left)}
	s.lo, s.hi = down.span()
	return s
}

func (s *span) needs() (lo, hi, reach int) { return s.lo, s.hi, s.from + s.n + lineSlack }

// completes reports whether row y completes a block, and sets that: the bytes of
// each row that the view needs, and lineSlack more. Behind the last row of all
// that one is repeated.
func (s *span) completes(y int, rows *rows) bool {
	if (y-s.lo)%blockRows != blockRows-1 && y != s.hi-1 {
		return false
	}
	start := y - (y-s.lo)%blockRows
	for i := range s.block {
		s.block[i] = rows.at(min(start+i, y))[s.from:][:s.n+lineSlack]
	}
	return true
}

// blockOf is the block in which position i of down begins.
func (s *span) blockOf(down *preparedAxis, i int) int { return (down.start[i] - s.lo) / blockRows }

// cut is a view that is made horizontally first.
type cut struct {
	span
	across, down *preparedAxis
	win          window
	out          []byte
	done         int // rows of out
}

func newCut(across, down *preparedAxis) *cut {
	return &cut{
		span: spanOf(across, down), across: across, down: down,
		win: window{blocks: windowBlocks(down.taps)}, out: make([]byte, side*rowBytes),
	}
}

func (c *cut) size() int         { return windowSize(c.down.taps) }
func (c *cut) use(memory []byte) { c.win.buf = memory }
func (c *cut) pixels() []byte    { return c.out }

func (c *cut) add(y int, rows *rows, scratch []byte) {
	if !c.completes(y, rows) {
		return
	}
	c.across.horizontal(c.win.add(c.blockOf(c.down, c.done)), &c.block, scratch)
	for c.done < side && c.down.end(c.done) <= y+1 {
		c.down.vertical(c.done, c.out[c.done*rowBytes:][:rowBytes], c.win.from(c.blockOf(c.down, c.done)))
		c.done++
	}
}

// tallCut is a view that is made vertically first. The vertical pass takes
// rowBytes at a time, so rows are cut into tiles of that.
type tallCut struct {
	span
	across, down *preparedAxis
	tiles        []window
	tile         [blockRows][]byte // of block
	lines        [blockRows][]byte // between the passes, each of whole tiles and lineSlack
	finished     []byte            // lines after the horizontal pass
	out          []byte
	done         int // rows of lines
}

func newTallCut(across, down *preparedAxis) *tallCut {
	c := &tallCut{span: spanOf(across, down), across: across, down: down, out: make([]byte, side*rowBytes)}
	c.tiles = make([]window, (c.n+rowBytes-1)/rowBytes)
	for i := range c.tiles {
		c.tiles[i].blocks = windowBlocks(down.taps)
	}
	return c
}

func (c *tallCut) line() int      { return len(c.tiles)*rowBytes + lineSlack }
func (c *tallCut) pixels() []byte { return c.out }

func (c *tallCut) size() int {
	return len(c.tiles)*windowSize(c.down.taps) + blockRows*c.line() + blockBytes
}

func (c *tallCut) use(memory []byte) {
	for i := range c.tiles {
		n := windowSize(c.down.taps)
		c.tiles[i].buf, memory = memory[:n], memory[n:]
	}
	for i := range c.lines {
		c.lines[i], memory = memory[:c.line()], memory[c.line():]
	}
	c.finished = memory
}

func (c *tallCut) add(y int, rows *rows, scratch []byte) {
	if !c.completes(y, rows) {
		return
	}
	for t := range c.tiles {
		for i, row := range c.block {
			c.tile[i] = row[t*rowBytes : min((t+1)*rowBytes, c.n)]
		}
		c.down.pack(c.tiles[t].add(c.blockOf(c.down, c.done)), &c.tile)
	}
	for c.done < side && c.down.end(c.done) <= y+1 {
		line := c.lines[c.done%blockRows]
		for t := range c.tiles {
			c.down.vertical(c.done, line[t*rowBytes:][:rowBytes], c.tiles[t].from(c.blockOf(c.down, c.done)))
		}
		c.done++
		if c.done%blockRows == 0 { // side is a multiple of it
			c.across.horizontal(c.finished, &c.lines, scratch)
			c.across.unpack(c.out[(c.done-blockRows)*rowBytes:][:blockRows*rowBytes], c.finished)
		}
	}
}

// rows holds the last blockRows rows of a raster that were read.
type rows struct {
	src   raster
	mem   inMemory // src, where its rows may lie in memory
	reach int      // the bytes of a row that are needed, with lineSlack
	buf   []byte
	last  [blockRows][]byte
}

func rowsOf(src raster) *rows {
	mem, _ := src.(inMemory)
	return &rows{src: src, mem: mem}
}

// stride is the length of a row in buf.
func (r *rows) stride() int {
	w, _ := r.src.size()
	return 3*w + lineSlack
}

// size is how much memory rows wants.
func (r *rows) size() int { return blockRows * r.stride() }

// read reads row y, where it lies if enough lies behind it.
func (r *rows) read(y int) {
	i := y % blockRows
	if r.mem != nil {
		if row := r.mem.at(y); len(row) >= r.reach {
			r.last[i] = row
			return
		}
	}
	r.last[i] = r.buf[i*r.stride():][:r.stride()]
	r.src.row(y, r.last[i][:r.stride()-lineSlack])
}

// at returns row y, which is one of the last that were read.
func (r *rows) at(y int) []byte { return r.last[y%blockRows] }

// windowBlocks is room for the blocks of a position that takes taps rows, and
// enough more that blocks are seldom moved.
func windowBlocks(taps int) int { return 2*blocksOf(taps) + 4 }

// windowSize is how much memory such a window wants: a position may be given
// more blocks than it has rows in.
func windowSize(taps int) int { return (windowBlocks(taps) + blocksOf(taps)) * blockBytes }

// window holds the blocks between the two passes.
type window struct {
	buf    []byte
	blocks int // how many there is room for
	first  int // the block that lies first in buf
	n      int // blocks held
}

// add makes room for a block and returns its place. Blocks before keep are no
// longer needed.
func (w *window) add(keep int) []byte {
	if w.n == w.blocks {
		drop := keep - w.first
		copy(w.buf, w.buf[drop*blockBytes:w.n*blockBytes])
		w.first, w.n = keep, w.n-drop
	}
	w.n++
	return w.buf[(w.n-1)*blockBytes:][:blockBytes]
}

// from returns what begins with a block.
func (w *window) from(block int) []byte { return w.buf[(block-w.first)*blockBytes:] }
