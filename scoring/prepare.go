package scoring

import (
	"context"
	"runtime"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/fair"
	"github.com/agiqa/agiqa/quality"
)

// Prepare gives the pixels that the encoder would see of one view of an image.
func (s *Service) Prepare(
	ctx context.Context, data []byte, mode quality.PreprocessMode, view quality.View,
) (quality.Image, error) {
	image := quality.Image{}
	timings := &Timings{}
	in, err := s.decoding.preparer.Inspect(data)
	if err == nil {
		var release func()
		if release, _, err = s.admission.acquire(ctx, in.DecodeCost()+costOfRow); err != nil {
			return quality.Image{}, err
		}
		defer release()
		err = s.telemetry.run(ctx, timings, StagePrepare, func(ctx context.Context, _ trace.Span) error {
			prepared, err := s.decoding.decode(ctx, timings, in, mode, []quality.View{view})
			if err == nil {
				image = quality.Image{Info: in.Info, Pixels: prepared.Views[0], Decoder: prepared.Decoder}
			}
			return err
		})
	}
	s.telemetry.countImage(ctx, image.Info.Format, err)
	return image, err
}

// decoding turns files into pixels, as many at once as there are CPUs: more
// would only take turns and hold memory. Clients have equal shares, weighed by
// cost.
type decoding struct {
	preparer  Preparer
	atOnce    int
	telemetry *telemetry

	mu    sync.Mutex
	slots *fair.Pool[chan struct{}] // closed when the decode may begin
}

func newDecoding(preparer Preparer, tel *telemetry) *decoding {
	decoders := decodersAtOnce()
	return &decoding{
		preparer: preparer, atOnce: runtime.GOMAXPROCS(0), telemetry: tel,
		slots: fair.NewPool[chan struct{}](fair.Config{
			Units: decoders, Kept: keptDecoders(decoders), Memory: preparer.DecodeBudget(),
		}),
	}
}

// decodersAtOnce is one for each CPU. One CPU alone decodes a small image beside
// a large one.
func decodersAtOnce() int { return max(2, runtime.GOMAXPROCS(0)) }

// keptDecoders is how many of them large images leave free while small ones come.
func keptDecoders(decoders int) int { return max(1, decoders/8) }

// prepared is a row as the encoder takes it.
type prepared struct {
	row
	pixels  quality.Pixels
	decoder string
	err     error // the image's own fault
}

func (p prepared) sound() bool { return p.err == nil }

// prepare decodes each image once for all of its rows. An image's own fault
// stays with its rows; a context that ended ends the request.
func (d *decoding) prepare(ctx context.Context, j *job, rows []row) ([]prepared, error) {
	out := make([]prepared, len(rows))
	images := byImage(rows)
	err := d.telemetry.run(ctx, j.timings, StagePrepare, func(ctx context.Context, span trace.Span) error {
		span.SetAttributes(attribute.Int("agiqa.images", len(images)), attribute.Int("agiqa.rows", len(rows)))
		one := func(ctx context.Context, places []int) error {
			views := make([]quality.View, len(places))
			for k, i := range places {
				views[k] = rows[i].view
			}
			decoded, err := d.decode(ctx, j.timings, rows[places[0]].Inspected, j.Preprocess, views)
			for k, i := range places {
				out[i] = prepared{row: rows[i], decoder: decoded.Decoder, err: err}
				if err == nil {
					out[i].pixels = decoded.Views[k]
				}
			}
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			return nil
		}
		if len(images) == 1 {
			return one(ctx, images[0])
		}
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(d.atOnce)
		for _, places := range images {
			group.Go(func() error { return one(ctx, places) })
		}
		return group.Wait()
	})
	return out, err
}

// byImage returns the places of the rows of each image, in the order of the
// images' first rows.
func byImage(rows []row) [][]int {
	var images [][]int
	at := map[int]int{}
	for i, r := range rows {
		k, seen := at[r.image]
		if !seen {
			k = len(images)
			at[r.image] = k
			images = append(images, nil)
		}
		images[k] = append(images[k], i)
	}
	return images
}

// decode decodes one image, in a slot, and cuts views out of it.
func (d *decoding) decode(
	ctx context.Context, timings *Timings, in imageprep.Inspected, mode quality.PreprocessMode, views []quality.View,
) (imageprep.Prepared, error) {
	release, err := d.acquire(ctx, in)
	if err != nil {
		return imageprep.Prepared{}, err
	}
	defer release()
	return d.preparer.PrepareViews(imageprep.Observed(ctx, func(done imageprep.Done) {
		attributes := []attribute.KeyValue{
			attribute.String("agiqa.image.format", in.Info.Format),
			attribute.Int("agiqa.image.width", in.Info.Width),
			attribute.Int("agiqa.image.height", in.Info.Height),
		}
		if done.Decoder != "" {
			attributes = append(attributes, attribute.String("agiqa.image.decoder", done.Decoder))
			d.telemetry.countDecoded(ctx, in.Info.Format, done.Decoder)
		}
		d.telemetry.Record(ctx, timings, Stage(done.Step), done.Start, done.End, done.Err, attributes...)
	}), in, mode, views)
}

// acquire waits for a slot and the memory that the decode needs.
func (d *decoding) acquire(ctx context.Context, in imageprep.Inspected) (release func(), err error) {
	begin := func() {
		for t := d.slots.Begin(); t != nil; t = d.slots.Begin() {
			close(t.Value)
		}
	}
	d.mu.Lock()
	slot := make(chan struct{})
	t := d.slots.Enter(time.Now(), whoOf(ctx), in.DecodeCost(), d.preparer.DecodeMemory(in), slot)
	begin()
	d.mu.Unlock()
	release = func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.slots.Leave(t)
		begin()
	}
	select {
	case <-slot:
		return release, nil
	case <-ctx.Done():
		release() // the slot that it may just have got, or its place
		return nil, context.Cause(ctx)
	}
}
