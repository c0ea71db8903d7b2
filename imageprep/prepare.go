package imageprep

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/semaphore"

	"github.com/agiqa/agiqa/quality"
)

// Preparer prepares images under common limits. It is safe for use by several
// goroutines.
type Preparer struct {
	cfg             Config
	memory          *semaphore.Weighted
	decoders        map[Format]decodeFunc
	natives         map[Format]Native
	buffers         *buffers
	resizer         *resizer
	exactID, fastID quality.PreprocessID
}

// New returns a Preparer that decodes in Go and, the formats of natives, by
// these, or every fault of cfg.
func New(cfg Config, natives ...Native) (*Preparer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("image preparation: %w", err)
	}
	b := newBuffers(cfg)
	p := &Preparer{
		cfg: cfg, memory: semaphore.NewWeighted(cfg.MemoryBudget), buffers: b,
		decoders: decoders(b), natives: map[Format]Native{}, resizer: newResizer(implementations()[0], b.samples),
	}
	for _, n := range natives {
		p.natives[n.Format()] = n
	}
	p.exactID, p.fastID = preprocessID(exactRecipe, p.natives), preprocessID(fastRecipe, p.natives)
	return p, nil
}

// Prepare checks, decodes, resizes and crops one image in the configured mode.
// data is not kept or changed. Errors are *quality.Error; see the package
// comment for their kinds.
func (p *Preparer) Prepare(ctx context.Context, data []byte) (quality.Image, error) {
	in, err := p.Inspect(data)
	if err != nil {
		return quality.Image{}, err
	}
	return p.PrepareInspected(ctx, in, "")
}

// PrepareInspected decodes, resizes and crops an image that [Preparer.Inspect]
// accepted. An empty mode is the configured one. It waits, as long as ctx
// allows, while other decodes use the memory budget up.
func (p *Preparer) PrepareInspected(ctx context.Context, in Inspected,
	mode quality.PreprocessMode) (quality.Image, error) {
	if in.header.Format == "" {
		return quality.Image{}, quality.Errorf(quality.KindInternal, "the image was not inspected")
	}
	share := p.memoryFor(in.header)
	if err := p.memory.Acquire(ctx, share); err != nil {
		return quality.Image{}, outOfTime(err)
	}
	defer p.memory.Release(share)
	rgb, decoder, err := p.pixels(ctx, in.Data, in.header, p.shrinks(mode))
	if err != nil {
		return quality.Image{}, err
	}
	pixels, err := quality.NewPixels(rgb)
	if err != nil {
		return quality.Image{}, err
	}
	return quality.Image{Info: in.Info, Pixels: pixels, Decoder: decoder}, nil
}

// memoryFor estimates what a decode takes: that of the Go decoder, which may
// have to do it again, and a native one's output.
func (p *Preparer) memoryFor(h Header) int64 {
	need := h.DecodeBytes()
	if p.natives[h.Format] != nil {
		need += 3 * h.Pixels()
	}
	return need
}

// pixels decodes and resizes. A decoder that panics costs this call only: what
// it was given is then as good as corrupt.
func (p *Preparer) pixels(ctx context.Context, data []byte, h Header,
	shrink bool) (rgb []byte, decoder string, err error) {
	defer func() {
		if v := recover(); v != nil {
			rgb, err = nil, corrupt(h.Format).Because(fmt.Errorf("decoder panicked: %v", v))
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, "", outOfTime(err)
	}
	var img raster
	err = step(ctx, StepDecode, func() (string, error) {
		img, decoder, err = p.decode(ctx, data, h, shrink)
		return decoder, err
	})
	if err == nil {
		defer release(img)
		err = step(ctx, StepResize, func() (string, error) {
			rgb, err = p.resizer.resizeAndCrop(ctx, img)
			return "", err
		})
	}
	if isContext(err) {
		return nil, "", outOfTime(err)
	}
	return rgb, decoder, err
}

// decode also says which decoder did it.
func (p *Preparer) decode(ctx context.Context, data []byte, h Header, shrink bool) (raster, string, error) {
	if n := p.natives[h.Format]; n != nil {
		by := 1
		if shrink {
			by = reductionFor(h)
		}
		if img := p.decodeNative(n, data, h, by); img != nil {
			return img, n.Name(), nil
		}
	}
	img, err := p.decoders[h.Format](ctx, data, h)
	if err == nil {
		if err = checkDecoded(img, h); err != nil {
			release(img)
		}
	}
	return img, GoDecoder, err
}

// GoDecoder names this package's own decoders in [quality.Image].
const GoDecoder = "go"

// outOfTime says which of the two ways a context ended.
func outOfTime(err error) *quality.Error {
	if errors.Is(err, context.Canceled) {
		return quality.Errorf(quality.KindClientClosedRequest,
			"the request was cancelled while its image was being prepared").Because(err)
	}
	return quality.Errorf(quality.KindDeadlineExceeded, "the image was not prepared before the deadline").Because(err)
}
