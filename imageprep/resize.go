package imageprep

import (
	"context"
	"sync"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

// resizer scales and crops. It is safe for use by several goroutines.
type resizer struct {
	passes  passes
	scratch *pool.Pool[byte]

	mu   sync.Mutex
	axes map[axisKey]*axis
}

// maxAxes bounds the tables that are kept. The largest one, of a side of 5000
// samples, takes a quarter of a megabyte.
const maxAxes = 32

func newResizer(p passes, scratch *pool.Pool[byte]) *resizer {
	return &resizer{passes: p, scratch: scratch, axes: make(map[axisKey]*axis)}
}

// axis returns a table, from those kept when it is among them.
func (r *resizer) axis(key axisKey) *axis {
	r.mu.Lock()
	a := r.axes[key]
	r.mu.Unlock()
	if a != nil {
		return a
	}
	a = newAxis(key)
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

	line := 3*w + lineSlack(across.taps)
	buf := r.scratch.Get(2*line + (windowRows(down.taps)+down.taps+1)*rowStride)
	defer r.scratch.Put(buf)
	line0, line1 := buf[:line], buf[line:2*line]
	win := window{buf: buf[2*line:], rows: windowRows(down.taps)}

	out := make([]byte, side*rowBytes)
	lo, hi := down.span()
	win.first = lo
	done := 0
	for y := lo; y < hi; y += 2 {
		second := line0 // an odd last row is computed twice
		if y+1 < hi {
			second = line1
		}
		for i, l := range [][]byte{line0, line1}[:min(2, hi-y)] {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			src.row(y+i, l[:3*w])
		}
		out0, out1 := win.add(down.start[done])
		r.passes.horizontal(across, out0, out1, line0, second)
		for done < side && down.end(done) <= min(y+2, hi) {
			r.passes.vertical(down, done, out[done*rowBytes:][:rowBytes], win.from(down.start[done]))
			done++
		}
	}
	return out, nil
}

// windowRows is room for the rows of a position that takes taps of them, and
// enough more that rows are seldom moved.
func windowRows(taps int) int { return 2*taps + 18 }

// window holds the rows between the two passes.
type window struct {
	buf   []byte
	rows  int // how many there is room for
	first int // the image's row that lies first in buf
	n     int // rows held
}

// add makes room for two rows and returns their places. Rows above keep are
// no longer needed.
func (w *window) add(keep int) (a, b []byte) {
	if w.n+2 > w.rows {
		drop := keep - w.first
		copy(w.buf, w.buf[drop*rowStride:w.n*rowStride])
		w.first, w.n = keep, w.n-drop
	}
	at := w.buf[w.n*rowStride:]
	w.n += 2
	return at[:rowStride:rowStride], at[rowStride : 2*rowStride]
}

// from returns what begins with row y.
func (w *window) from(y int) []byte { return w.buf[(y-w.first)*rowStride:] }
