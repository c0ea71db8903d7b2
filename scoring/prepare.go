package scoring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/imageprep"
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

// decoding turns files into pixels, as many at once as there are slots: one
// per CPU, because more would only take turns and hold memory.
type decoding struct {
	preparer  Preparer
	slots     chan struct{}
	telemetry *telemetry
}

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
		group, ctx := errgroup.WithContext(ctx)
		group.SetLimit(cap(d.slots))
		for _, places := range images {
			group.Go(func() error {
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
			})
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
	select {
	case d.slots <- struct{}{}:
		defer func() { <-d.slots }()
	case <-ctx.Done():
		return imageprep.Prepared{}, context.Cause(ctx)
	}
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
