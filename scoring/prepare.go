package scoring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// Prepare gives the pixels that the encoder would see of one image.
func (s *Service) Prepare(ctx context.Context, data []byte, mode quality.PreprocessMode) (quality.Image, error) {
	var image quality.Image
	timings := &Timings{}
	in, err := s.preparer.Inspect(data)
	if err == nil {
		var release func()
		if release, _, err = s.admission.acquire(ctx, in.DecodeCost()+costOfImage); err != nil {
			return quality.Image{}, err
		}
		defer release()
		err = s.telemetry.run(ctx, timings, StagePrepare, func(ctx context.Context, span trace.Span) (err error) {
			image, err = s.prepareOne(ctx, timings, in, mode)
			return err
		})
	}
	s.telemetry.countImage(ctx, image.Info.Format, err)
	return image, err
}

// prepareOne decodes under the bound on decoders: one per CPU, because more
// would only take turns and hold memory.
func (s *Service) prepareOne(ctx context.Context, timings *Timings, in imageprep.Inspected, mode quality.PreprocessMode) (quality.Image, error) {
	select {
	case s.decoders <- struct{}{}:
		defer func() { <-s.decoders }()
	case <-ctx.Done():
		return quality.Image{}, context.Cause(ctx)
	}
	return s.preparer.PrepareInspected(imageprep.Observed(ctx, func(done imageprep.Done) {
		attributes := []attribute.KeyValue{
			attribute.String("agiqa.image.format", in.Info.Format),
			attribute.Int("agiqa.image.width", in.Info.Width),
			attribute.Int("agiqa.image.height", in.Info.Height),
		}
		if done.Decoder != "" {
			attributes = append(attributes, attribute.String("agiqa.image.decoder", done.Decoder))
		}
		s.telemetry.Record(ctx, timings, Stage(done.Step), done.Start, done.End, done.Err, attributes...)
	}), in, mode)
}
