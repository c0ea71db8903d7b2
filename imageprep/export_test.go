package imageprep

import (
	"bytes"
	"context"
	"slices"

	"github.com/agiqa/agiqa/imageprep/internal/pool"
)

// FullSize decodes data within the default limits and returns convert("RGB")
// at full size.
func FullSize(data []byte) (rgb []byte, w, h int, err error) {
	header, err := Sniff(data)
	if err != nil {
		return nil, 0, 0, err
	}
	img, err := decoders(newBuffers(DefaultConfig()))[header.Format](context.Background(), data, header)
	if err != nil {
		return nil, 0, 0, err
	}
	w, h = img.size()
	rgb = make([]byte, 3*w*h)
	for y := range h {
		img.row(y, rgb[3*w*y:][:3*w])
	}
	return rgb, w, h, checkDecoded(img, header)
}

// rgbBytes is a raster of plain RGB.
type rgbBytes struct {
	pix  []byte
	w, h int
}

func (r rgbBytes) size() (int, int)      { return r.w, r.h }
func (r rgbBytes) row(y int, dst []byte) { copy(dst, r.pix[3*r.w*y:][:3*r.w]) }

// ResizeRGB resizes and crops plain RGB.
func ResizeRGB(pix []byte, w, h int) ([]byte, error) {
	return newResizer(fastestPasses(), nil).resizeAndCrop(context.Background(), rgbBytes{pix, w, h})
}

// Resizer is one implementation of the resampler, with its pool.
type Resizer struct{ r *resizer }

// NewPortable and NewVectorised keep their memory between images.
func NewPortable() *Resizer   { return &Resizer{newResizer(portable{}, pool.New[byte](1, 1<<30))} }
func NewVectorised() *Resizer { return &Resizer{newResizer(fastestPasses(), pool.New[byte](1, 1<<30))} }

// Resize resizes and crops plain RGB.
func (r *Resizer) Resize(pix []byte, w, h int) []byte {
	out, err := r.r.resizeAndCrop(context.Background(), rgbBytes{pix, w, h})
	if err != nil {
		panic(err) // the context never ends
	}
	return out
}

// ResizePortable and ResizeVectorised resize and crop plain RGB with memory
// that other images were in before.
func ResizePortable(pix []byte, w, h int) []byte   { return portableResizer.Resize(pix, w, h) }
func ResizeVectorised(pix []byte, w, h int) []byte { return vectorisedResizer.Resize(pix, w, h) }

var portableResizer, vectorisedResizer = NewPortable(), NewVectorised()

// HasVectorised says whether the two differ.
var HasVectorised = fastestPasses() != passes(portable{})

// WithDecoder makes p decode format by decode, which says the size of the
// image it pretends to have decoded.
func (p *Preparer) WithDecoder(format Format, decode func(ctx context.Context) (w, h int, err error)) {
	p.decoders[format] = func(ctx context.Context, _ []byte, _ Header) (raster, error) {
		w, h, err := decode(ctx)
		return rgbBytes{make([]byte, 3*w*h), w, h}, err
	}
}

// CropOffset exposes the crop's arithmetic.
var CropOffset = cropOffset

// Resized exposes the resize's arithmetic.
var Resized = resized

// Dirty fills the pools with buffers full of v.
func (p *Preparer) Dirty(v byte) {
	for range 8 {
		p.buffers.samples.Put(bytes.Repeat([]byte{v}, 1<<18))
		p.buffers.coefficients.Put(slices.Repeat([]int16{int16(v)<<8 | int16(v)}, 1<<17))
	}
}

// Held returns how many samples the pool keeps.
func (p *Preparer) Held() int { return p.buffers.samples.Held() }

// SelfTestCase is one of the self-test's pictures.
type SelfTestCase struct {
	Name, RGB, Out string
	Data           []byte
}

// SelfTestCases exposes the self-test's table.
func SelfTestCases() []SelfTestCase {
	var out []SelfTestCase
	for _, c := range selfTestCases() {
		out = append(out, SelfTestCase{c.name, c.rgb, c.out, selfTestFile(c.name)})
	}
	return out
}
