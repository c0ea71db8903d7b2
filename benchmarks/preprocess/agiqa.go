package preprocess

import (
	"context"
	"crypto/sha256"
	"fmt"
	"strings"
	"time"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// Ours is this project's way, with one choice of decoders and one mode.
type Ours struct {
	name     string
	preparer *imageprep.Preparer
	mode     quality.PreprocessMode
	data     []byte
	rgb      imageprep.RGB
}

// NewOurs names a preparer and one of its modes.
func NewOurs(name string, p *imageprep.Preparer, mode quality.PreprocessMode) *Ours {
	return &Ours{name: name, preparer: p, mode: mode}
}

// Name implements [Contestant].
func (o *Ours) Name() string { return o.name }

// Does implements [Contestant]. Fast preprocessing is other than exact for
// JPEG only, and has no full size.
func (o *Ours) Does(step Step, format string) bool {
	return o.Exact() || step == Whole && strings.HasPrefix(format, "jpeg")
}

// Exact implements [Contestant].
func (o *Ours) Exact() bool { return o.mode == quality.Exact }

// Load implements [Contestant].
func (o *Ours) Load(ctx context.Context, data []byte) (Digest, error) {
	o.data = data
	img, err := o.prepare(ctx)
	if err != nil {
		return Digest{}, err
	}
	o.rgb, err = o.preparer.DecodeRGB(ctx, data, imageprep.RGB{})
	return sha256.Sum256(img.Views[0].Bytes()), err
}

// Time implements [Contestant].
func (o *Ours) Time(ctx context.Context, step Step) (Cost, error) {
	wall, cpu := time.Now(), processTime()
	err := o.execute(ctx, step)
	return Cost{Wall: time.Since(wall), CPU: processTime() - cpu}, err
}

func (o *Ours) execute(ctx context.Context, step Step) (err error) {
	switch step {
	case Decode:
		o.rgb, err = o.preparer.DecodeRGB(ctx, o.data, o.rgb)
	case Resize:
		_, err = o.preparer.ResizeRGB(ctx, o.rgb)
	case Whole:
		_, err = o.prepare(ctx)
	default:
		err = fmt.Errorf("no step %q", step)
	}
	return err
}

func (o *Ours) prepare(ctx context.Context) (imageprep.Prepared, error) {
	in, err := o.preparer.Inspect(o.data)
	if err != nil {
		return imageprep.Prepared{}, err
	}
	return o.preparer.PrepareViews(ctx, in, o.mode, []quality.View{{}})
}
