package imageprep

import (
	"context"
	"errors"
	"fmt"

	"github.com/agiqa/agiqa/quality"
)

// Preparer prepares images under common limits. It is safe for use by several
// goroutines.
type Preparer struct {
	cfg      Config
	memory   *memory
	decoders map[Format]decodeFunc
	buffers  *buffers
	resizer  *resizer

	exactIDs, fastIDs ids
}

// New returns a Preparer, or every fault of cfg.
func New(cfg Config) (*Preparer, error) {
	if err := cfg.Validate(); err != nil {
		return nil, fmt.Errorf("image preparation: %w", err)
	}
	b := newBuffers(cfg)
	p := &Preparer{
		cfg: cfg, memory: newMemory(cfg.MemoryBudget, b), buffers: b,
		decoders: decoders(b), resizer: newResizer(implementations()[0], b.samples),
	}
	p.exactIDs, p.fastIDs = newIDs(false), newIDs(true)
	return p, nil
}

// Prepare checks and decodes one image in the configured mode and gives its
// view "224", as [Preparer.PrepareViews] does. data is not kept or changed.
func (p *Preparer) Prepare(ctx context.Context, data []byte) (quality.Image, error) {
	in, err := p.Inspect(data)
	if err != nil {
		return quality.Image{}, err
	}
	prepared, err := p.PrepareViews(ctx, in, "", []quality.View{{}})
	if err != nil {
		return quality.Image{}, err
	}
	return quality.Image{Info: in.Info, Pixels: prepared.Views[0], Decoder: prepared.Decoder}, nil
}

// Prepared is what the encoder sees of one image.
type Prepared struct {
	Views   []quality.Pixels // one for each view that was asked for, in order
	Decoder string           // what decoded the image: "go"
}

// PrepareViews decodes an image that [Preparer.Inspect] accepted, resizes it
// and cuts views out of it. An empty mode is the configured one. The pixels of
// a view don't depend on the other views. Errors are *quality.Error; see the
// package comment for their kinds.
//
// All views come from one decode. Where the mode lets a JPEG shrink while it
// is decoded, views of different sizes may need it shrunk differently: then it
// is decoded once for each way. PrepareViews waits, as long as ctx allows,
// while other decodes use the memory budget up.
func (p *Preparer) PrepareViews(
	ctx context.Context, in Inspected, mode quality.PreprocessMode, views []quality.View,
) (Prepared, error) {
	if in.header.Format == "" {
		return Prepared{}, quality.Errorf(quality.KindInternal, "the image was not inspected")
	}
	share := in.header.DecodeBytes()
	if err := p.memory.acquire(ctx, share); err != nil {
		return Prepared{}, outOfTime(err)
	}
	defer p.memory.release(share)
	out := Prepared{Views: make([]quality.Pixels, len(views)), Decoder: GoDecoder}
	for by, places := range byReduction(in.header, views, p.shrinks(mode)) {
		some := make([]quality.View, len(places))
		for i, place := range places {
			some[i] = views[place]
		}
		rgb, err := p.pixels(ctx, in.Data, in.header, by, some)
		if err != nil {
			return Prepared{}, err
		}
		for i, place := range places {
			if out.Views[place], err = quality.NewPixels(rgb[i]); err != nil {
				return Prepared{}, err
			}
		}
	}
	return out, nil
}

// byReduction groups the places of views by how far the image may shrink for
// them while it is decoded.
func byReduction(h Header, views []quality.View, shrink bool) map[int][]int {
	groups := map[int][]int{}
	for i, v := range views {
		by := 1
		if shrink {
			by = reductionFor(h, v.Size())
		}
		groups[by] = append(groups[by], i)
	}
	return groups
}

// DecodeMemory estimates, in bytes, what decoding an inspected image takes.
func (p *Preparer) DecodeMemory(in Inspected) int64 { return in.header.DecodeBytes() }

// DecodeBudget is what all decodes may take together, in bytes: those beyond it
// wait.
func (p *Preparer) DecodeBudget() int64 { return p.cfg.MemoryBudget }

// Age gives back the memory that was kept for images like earlier ones, where no
// image has taken it since Age was called before. It is for the garbage collector
// to free.
func (p *Preparer) Age() {
	for _, pool := range p.buffers.pools() {
		pool.Age()
	}
}

// pixels decodes, shrunk by a factor, and cuts views out. A decoder that panics
// costs this call only: what it was given is then as good
// as corrupt.
func (p *Preparer) pixels(
	ctx context.Context, data []byte, h Header, by int, views []quality.View,
) (rgb [][]byte, err error) {
	defer func() {
		if v := recover(); v != nil {
			rgb, err = nil, corrupt(h.Format).Because(fmt.Errorf("decoder panicked: %v", v))
		}
	}()
	if err := ctx.Err(); err != nil {
		return nil, outOfTime(err)
	}
	var img raster
	err = step(ctx, StepDecode, func() (string, error) {
		img, err = p.decode(ctx, data, h, by)
		return GoDecoder, err
	})
	if err == nil {
		defer release(img)
		err = step(ctx, StepResize, func() (string, error) {
			rgb, err = p.resizer.cut(ctx, img, views)
			return "", err
		})
	}
	if isContext(err) {
		return nil, outOfTime(err)
	}
	return rgb, err
}

// decode makes sure of the size. by is how far a JPEG shrinks.
func (p *Preparer) decode(ctx context.Context, data []byte, h Header, by int) (raster, error) {
	img, err := p.decoders[h.Format](ctx, data, h, by)
	if err == nil {
		if err = checkDecoded(img, h, by); err != nil {
			release(img)
		}
	}
	return img, err
}

// GoDecoder names this package's decoders in [quality.Image].
const GoDecoder = "go"

// outOfTime says which of the two ways a context ended.
func outOfTime(err error) *quality.Error {
	if errors.Is(err, context.Canceled) {
		return quality.Errorf(quality.KindClientClosedRequest,
			"the request was cancelled while its image was being prepared").Because(err)
	}
	return quality.Errorf(quality.KindDeadlineExceeded, "the image was not prepared before the deadline").Because(err)
}
