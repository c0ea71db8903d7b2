package imageprep

import (
	"context"
	"sync"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
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
const maxAxes = 32

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

// resizeAndCrop scales src and cuts the middle out, computing only what
// survives the crop: a horizontal pass over the rows that are needed, rounded
// to 8 bits, and then a vertical one, as Pillow's Resample.c does. Rows are
// asked for once each and from top to bottom, and kept only until the vertical
// pass has used them. It returns 224x224x3 bytes.
func (r *resizer) resizeAndCrop(ctx context.Context, src raster) ([]byte, error) {
	w, h := src.size()
	outW, outH := resized(w, h)
	across := r.axis(axisKey{w, outW, cropOffset(outW)})
	down := r.axis(axisKey{h, outH, cropOffset(outH)})

	left, right := across.span()
	in := lines{src: src, from: 3 * left, n: 3*(right-left) + lineSlack}
	room := windowBlocks(down.taps)
	inWindow, inScratch := (room+blocksOf(down.taps))*blockBytes, across.scratch()
	buf := r.scratch.Get(inWindow + inScratch + in.size())
	defer r.scratch.Put(buf)
	win := window{buf: buf[:inWindow], blocks: room}
	scratch := buf[inWindow:][:inScratch]
	in.buf = buf[inWindow+inScratch:]

	out := make([]byte, side*rowBytes)
	lo, hi := down.span()
	blockOf := func(i int) int { return (down.start[i] - lo) / blockRows }
	done := 0
	for y := lo; y < hi; y += blockRows {
		rows, err := in.four(ctx, y, hi)
		if err != nil {
			return nil, err
		}
		across.horizontal(win.add(blockOf(done)), rows, scratch)
		for done < side && down.end(done) <= min(y+blockRows, hi) {
			down.vertical(done, out[done*rowBytes:][:rowBytes], win.from(blockOf(done)))
			done++
		}
	}
	return out, nil
}

// lines gives the rows of a raster from where an axis begins.
type lines struct {
	src     raster
	from, n int // bytes of a row: the first that is wanted, and how many with lineSlack
	buf     []byte
	rows    [blockRows][]byte
}

// size is how much memory lines wants: for four rows, and for a whole one that
// they are cut from.
func (l *lines) size() int {
	w, _ := l.src.size()
	return blockRows*l.n + 3*w
}

// four returns row y and the next three, until it is asked again. Behind row
// hi-1 it is repeated.
func (l *lines) four(ctx context.Context, y, hi int) (*[blockRows][]byte, error) {
	rows := &l.rows
	for i := range rows {
		if y+i >= hi {
			rows[i] = rows[i-1]
			continue
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if s, ok := l.src.(inMemory); ok {
			if row := s.at(y + i); len(row) >= l.from+l.n {
				rows[i] = row[l.from:][:l.n]
				continue
			}
		}
		whole := l.buf[blockRows*l.n:]
		l.src.row(y+i, whole)
		rows[i] = l.buf[i*l.n:][:l.n]
		copy(rows[i], whole[l.from:][:l.n-lineSlack])
	}
	return rows, nil
}

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
