package imageprep

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/sync/semaphore"

	"github.com/agiqa/agiqa/quality"
)

// preprocessID names the pixels that this package makes. It changes whenever
// they could: with the resampler, the crop, or a decoder.
const preprocessID quality.PreprocessID = "pillow-bicubic-224/go-1"

// Preparer prepares images under common limits. It is safe for use by several
// goroutines.
type Preparer struct {
	cfg      Config
	memory   *semaphore.Weighted
	decoders map[Format]decodeFunc
	resizer  *resizer
	buffers  *buffers
}

// New returns a Preparer, or every fault of cfg.
func New(cfg Config) (*Preparer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("image preparation: %w", err)
	}
	b := newBuffers(cfg)
	return &Preparer{
		cfg: cfg, memory: semaphore.NewWeighted(cfg.MemoryBudget),
		decoders: decoders(b), resizer: newResizer(fastestPasses(), b.samples), buffers: b,
	}, nil
}

// ID names the way from bytes to pixels, for cache keys and provenance.
func (p *Preparer) ID() quality.PreprocessID { return preprocessID }

// Prepare checks, decodes, resizes and crops one image. data is not kept or
// changed. It waits, as long as ctx allows, while other decodes use the memory
// budget up. Errors are *quality.Error; see the package comment for their
// kinds.
func (p *Preparer) Prepare(ctx context.Context, data []byte) (quality.Image, error) {
	h, err := p.inspect(data)
	if err != nil {
		return quality.Image{}, err
	}
	share := h.DecodeBytes()
	if err := p.memory.Acquire(ctx, share); err != nil {
		return quality.Image{}, outOfTime(err)
	}
	defer p.memory.Release(share)
	rgb, err := p.pixels(ctx, data, h)
	if err != nil {
		return quality.Image{}, err
	}
	pixels, err := quality.NewPixels(rgb)
	if err != nil {
		return quality.Image{}, err
	}
	return quality.Image{Info: info(data, h), Pixels: pixels}, nil
}

// pixels decodes and resizes. A decoder that panics costs this call only: what
// it was given is then as good as corrupt.
func (p *Preparer) pixels(ctx context.Context, data []byte, h Header) (rgb []byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			rgb, err = nil, corrupt(h.Format).Because(fmt.Errorf("decoder panicked: %v", v))
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, outOfTime(err)
	}
	img, err := p.decoders[h.Format](ctx, data, h)
	if err == nil {
		defer release(img)
		err = checkDecoded(img, h)
	}
	if err == nil {
		rgb, err = p.resizer.resizeAndCrop(ctx, img)
	}
	if isContext(err) {
		return nil, outOfTime(err)
	}
	return rgb, err
}

// outOfTime says which of the two ways a context ended.
func outOfTime(err error) *quality.Error {
	if errors.Is(err, context.Canceled) {
		return quality.Errorf(quality.KindClientClosedRequest, "the request was given up while its image was being prepared").Because(err)
	}
	return quality.Errorf(quality.KindDeadlineExceeded, "the image was not prepared before the deadline").Because(err)
}
