package imageprep

import (
	"bytes"
	"context"
	"reflect"
	"slices"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
	"github.com/agiqa/agiqa/quality"
)

// FullSize decodes data within the default limits and returns convert("RGB")
// at full size.
func FullSize(data []byte) (rgb []byte, w, h int, err error) {
	header, err := Sniff(data)
	if err != nil {
		return nil, 0, 0, err
	}
	img, err := decoders(newBuffers(DefaultConfig()))[header.Format](context.Background(), data, header, 1)
	if err != nil {
		return nil, 0, 0, err
	}
	w, h = img.size()
	rgb = make([]byte, 3*w*h)
	for y := range h {
		img.row(y, rgb[3*w*y:][:3*w])
	}
	return rgb, w, h, checkDecoded(img, header, 1)
}

// rgbBytes is a raster of plain RGB.
type rgbBytes struct {
	pix  []byte
	w, h int
}

func (r rgbBytes) size() (int, int)      { return r.w, r.h }
func (r rgbBytes) row(y int, dst []byte) { copy(dst, r.pix[3*r.w*y:][:3*r.w]) }

// Resizer is one implementation of the resampler. It keeps its memory between
// images.
type Resizer struct {
	Name string
	r    *resizer
}

// Resizers returns what this processor can run, the fastest first.
func Resizers() []*Resizer {
	var list []*Resizer
	for _, i := range implementations() {
		list = append(list, &Resizer{i.name, newResizer(i, pool.New[byte](1, 1<<30))})
	}
	return list
}

// Resize gives the view "224" of plain RGB.
func (r *Resizer) Resize(pix []byte, w, h int) []byte {
	return r.cut(RGB{w, h, pix}, quality.View{})[0]
}

// Cut gives views of plain RGB.
func (r *Resizer) Cut(pix []byte, w, h int, views ...quality.View) [][]byte {
	return r.cut(RGB{w, h, pix}, views...)
}

func (r *Resizer) cut(img raster, views ...quality.View) [][]byte {
	out, err := r.r.cut(context.Background(), img, views)
	if err != nil {
		panic(err) // the context never ends
	}
	return out
}

// RowsCopied cuts views out of plain RGB and returns how many rows were not
// read where they lie.
func (r *Resizer) RowsCopied(pix []byte, w, h int, views ...quality.View) int {
	img := &copies{RGB: RGB{w, h, pix}}
	r.cut(img, views...)
	return img.n
}

// RowsRead cuts views out of an image whose rows do not lie in memory and
// returns the rows that were asked for, in order.
func (r *Resizer) RowsRead(w, h int, views ...quality.View) []int {
	img := &blank{w: w, h: h}
	r.cut(img, views...)
	return img.asked
}

type blank struct {
	w, h  int
	asked []int
}

func (b *blank) size() (int, int)    { return b.w, b.h }
func (b *blank) row(y int, _ []byte) { b.asked = append(b.asked, y) }

type copies struct {
	RGB
	n int
}

func (c *copies) row(y int, dst []byte) {
	c.n++
	c.RGB.row(y, dst)
}

// LineSlack and PrecisionBits are what rows and weights have to have.
const (
	LineSlack     = lineSlack
	PrecisionBits = precisionBits
)

// Weights is an axis with weights of any size.
type Weights struct {
	Start  [side]int
	Weight [side][]int32
}

// PillowWeights are those of 224 positions from first on, of in samples
// resized to out.
func PillowWeights(in int, out, first int64) Weights {
	a := newAxis(axisKey{in, out, first})
	return Weights{a.start, a.weight}
}

func (w Weights) axis() *axis { return (&axis{start: w.Start, weight: w.Weight}).finish() }

// Weigh does what cut does with any weights, in memory of alloc: not
// a byte more than passes may touch. Each of rows, four at a time, has the
// samples that across needs, and LineSlack bytes.
func (r *Resizer) Weigh(across, down Weights, rows [][]byte, alloc func(int) []byte) []byte {
	a, d := r.r.implementation.prepare(across.axis()), r.r.implementation.prepare(down.axis())
	taps, blockOf := down.axis().taps, func(i int) int { return (down.Start[i] - down.Start[0]) / blockRows }
	blocks := alloc((blockOf(side-1) + blocksOf(taps)) * blockBytes)
	scratch := alloc(a.scratch())
	for i := 0; i < len(rows); i += blockRows {
		a.horizontal(blocks[i*rowStride:][:blockBytes], (*[blockRows][]byte)(rows[i:]), scratch)
	}
	var result []byte
	out := alloc(rowBytes)
	for i := range side {
		d.vertical(i, out, blocks[blockOf(i)*blockBytes:])
		result = append(result, out...)
	}
	return result
}

// WithDecoder makes p decode format by decode, which is told how far the image
// shrinks and says the size of the one it pretends to have decoded.
func (p *Preparer) WithDecoder(format Format, decode func(ctx context.Context, by int) (w, h int, err error)) {
	p.decoders[format] = func(ctx context.Context, _ []byte, _ Header, by int) (raster, error) {
		w, h, err := decode(ctx, by)
		return rgbBytes{bytes.Repeat([]byte{byte(w / 8)}, 3*w*h), w, h}, err
	}
}

// CropOffset exposes the crop's arithmetic.
var CropOffset = cropOffset

// Resized exposes the resize's arithmetic.
var Resized = resized

// VerticalFirst exposes the order of the passes.
func VerticalFirst(w, h, newW, newH int, recipe quality.Recipe) bool {
	return verticalFirst(w, h, place{width: int64(newW), height: int64(newH)}, recipe)
}

// Dirty fills the pools with buffers full of v.
func (p *Preparer) Dirty(v byte) {
	for range 8 {
		p.buffers.samples.Put(bytes.Repeat([]byte{v}, 1<<18))
		p.buffers.pixels.Put(slices.Repeat([]uint32{uint32(v) * 0x01010101}, 1<<17))
		p.buffers.coefficients.Put(slices.Repeat([]int16{int16(v)<<8 | int16(v)}, 1<<17))
	}
}

// Held returns how many samples the pools keep.
func (p *Preparer) Held() int { return p.buffers.samples.Held() + p.buffers.pixels.Held() }

// Pools returns how many pools there are, and how many the account knows.
func Pools() (are, known int) {
	return reflect.TypeFor[buffers]().NumField(), len(newBuffers(DefaultConfig()).pools())
}

// Memory is the account of what decodes take, with collections that count only.
type Memory struct {
	*memory
	cycles uint64
	forced int
}

// NewMemory returns an account.
func NewMemory(budget int64) *Memory {
	m := &Memory{memory: newMemory(budget, newBuffers(DefaultConfig()))}
	m.memory.cycles = func() uint64 { return m.cycles }
	m.memory.collect = func() { m.forced++ }
	return m
}

// Acquire waits for a share.
func (m *Memory) Acquire(ctx context.Context, share int64) error { return m.acquire(ctx, share) }

// Release gives a share back.
func (m *Memory) Release(share int64) { m.release(share) }

// EndCycle is a collection by the runtime.
func (m *Memory) EndCycle() { m.cycles++ }

// Garbage is what decodes left behind, at most.
func (m *Memory) Garbage() int64 { return m.young + m.old }

// Forced is how many collections there were.
func (m *Memory) Forced() int { return m.forced }

// SelfTestCase is one of the self-test's pictures.
type SelfTestCase struct {
	Name, RGB, Out string
	Data           []byte
}

// RecipeTest exposes the self-test of recipes.
func RecipeTest() (width, height int, sums map[quality.Recipe]string) {
	return recipeTestWidth, recipeTestHeight, recipeTestSums
}

// SelfTestCases exposes the self-test's table.
func SelfTestCases() []SelfTestCase {
	var out []SelfTestCase
	for _, c := range selfTestCases() {
		out = append(out, SelfTestCase{c.name, c.rgb, c.out, selfTestFile(c.name)})
	}
	return out
}
