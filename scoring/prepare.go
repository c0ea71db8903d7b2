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
	release, err := s.admission.acquire(ctx)
	if err != nil {
		return quality.Image{}, err
	}
	defer release()
	var image quality.Image
	err = s.telemetry.run(ctx, &Timings{}, StagePrepare, func(ctx context.Context, span trace.Span) (err error) {
		in, err := s.preparer.Inspect(data)
		if err != nil {
			return err
		}
		image, err = s.prepareOne(ctx, in, mode)
		return err
	})
	s.telemetry.countImage(ctx, image.Info.Format, err)
	return image, err
}

// prepareOne decodes under the bound on decoders: one per CPU, because more
// would only take turns and hold memory.
func (s *Service) prepareOne(ctx context.Context, in imageprep.Inspected, mode quality.PreprocessMode) (quality.Image, error) {
	select {
	case s.decoders <- struct{}{}:
		defer func() { <-s.decoders }()
	case <-ctx.Done():
		return quality.Image{}, context.Cause(ctx)
	}
	ctx, span := s.telemetry.tracer.Start(ctx, "decode")
	defer span.End()
	image, err := s.preparer.PrepareInspected(ctx, in, mode)
	if err != nil {
		MarkSpan(span, err)
		return quality.Image{}, err
	}
	span.SetAttributes(
		attribute.String("agiqa.image.format", image.Info.Format),
		attribute.String("agiqa.image.decoder", image.Decoder),
		attribute.Int("agiqa.image.width", image.Info.Width),
		attribute.Int("agiqa.image.height", image.Info.Height))
	return image, nil
}
