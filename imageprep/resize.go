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
// order. It computes only what the views show: a horizontal pass over the rows
// that a view needs, rounded to 8 bits, and then a vertical one, as Pillow's
// Resample.c does. Rows are asked for once each and from top to bottom, however
// many views and sizes need them, and kept only until the vertical passes have
// used them.
func (r *resizer) cut(ctx context.Context, src raster, views []quality.View) ([][]byte, error) {
	w, h := src.size()
	cuts := make([]cut, len(views))
	rows := rowsOf(src)
	inCuts, inScratch := 0, 0
	first, last := h, 0
	for i, v := range views {
		p := placeOf(w, h, v)
		c := newCut(r.axis(axisKey{w, p.width, p.left}), r.axis(axisKey{h, p.height, p.top}))
		first, last = min(first, c.lo), max(last, c.hi)
		rows.reach = max(rows.reach, c.from+c.n)
		inCuts += c.size()
		inScratch = max(inScratch, c.across.scratch())
		cuts[i] = c
	}
	buf := r.scratch.Get(inCuts + inScratch + rows.size())
	defer r.scratch.Put(buf)
	rest := buf
	for i := range cuts {
		cuts[i].win.buf, rest = rest[:cuts[i].size()], rest[cuts[i].size():]
	}
	scratch := rest[:inScratch]
	rows.buf = rest[inScratch:]

	for y := first; y < last; y++ {
		have := false
		for i := range cuts {
			c := &cuts[i]
			if y < c.lo || y >= c.hi {
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
		out[i] = c.out
	}
	return out, nil
}

// cut is one view of a picture while its rows come by.
type cut struct {
	across, down *preparedAxis
	from, n      int // bytes of a row: the first that is needed, and how many with lineSlack
	lo, hi       int // the rows that are needed
	win          window
	block        [blockRows][]byte
	out          []byte
	done         int // rows of out
}

func newCut(across, down *preparedAxis) cut {
	left, right := across.span()
	c := cut{
		across: across, down: down, from: 3 * left, n: 3*(right-left) + lineSlack,
		win: window{blocks: windowBlocks(down.taps)}, out: make([]byte, side*rowBytes),
	}
	c.lo, c.hi = down.span()
	return c
}

// size is how much memory the window wants.
func (c *cut) size() int { return (c.win.blocks + blocksOf(c.down.taps)) * blockBytes }

// add takes row y. When it completes a block, or is the last one, the passes
// run over the block's rows; behind the last row that one is repeated.
func (c *cut) add(y int, rows *rows, scratch []byte) {
	if (y-c.lo)%blockRows != blockRows-1 && y != c.hi-1 {
		return
	}
	start := y - (y-c.lo)%blockRows
	for i := range c.block {
		c.block[i] = rows.at(min(start+i, y))[c.from:][:c.n]
	}
	blockOf := func(i int) int { return (c.down.start[i] - c.lo) / blockRows }
	c.across.horizontal(c.win.add(blockOf(c.done)), &c.block, scratch)
	for c.done < side && c.down.end(c.done) <= y+1 {
		c.down.vertical(c.done, c.out[c.done*rowBytes:][:rowBytes], c.win.from(blockOf(c.done)))
		c.done++
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
