package scoring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// inspected are the distinct images of a request: the same file sent twice is
// worked on once.
type inspected struct {
	images []image
	byItem []int   // the place of each item's image, where it has no error
	errs   []error // by item
}

// image is one that can be read, and its embedding where the cache knows it.
type image struct {
	imageprep.Inspected
	known quality.Embedding
}

func (i image) found() bool   { return i.known != nil }
func (i image) missing() bool { return i.known == nil }

func (j *job) key(i image) quality.EmbeddingKey {
	return quality.EmbeddingKey{Image: i.Info.Digest, Preprocess: j.preprocess, Encoder: j.models.Encoder.Digest}
}

// inspect is the stage that reads headers without decoding anything.
func (s *Service) inspect(ctx context.Context, j *job) inspected {
	in := inspected{byItem: make([]int, len(j.Items)), errs: make([]error, len(j.Items))}
	_ = s.telemetry.run(ctx, j.timings, StageInspect, func(_ context.Context, span trace.Span) error {
		seen := map[quality.Digest]int{}
		unreadable := 0
		for i, item := range j.Items {
			if in.errs[i] = item.Err; item.Err != nil {
				continue
			}
			one, err := s.decoding.preparer.Inspect(item.Data)
			if in.errs[i] = err; err != nil {
				unreadable++
				continue
			}
			place, again := seen[one.Info.Digest]
			if !again {
				place = len(in.images)
				seen[one.Info.Digest] = place
				in.images = append(in.images, image{Inspected: one})
			}
			in.byItem[i] = place
		}
		span.SetAttributes(attribute.Int("agiqa.images", len(j.Items)),
			attribute.Int("agiqa.images.distinct", len(in.images)+unreadable))
		return nil
	})
	return in
}

// results copies the scores of each image to the items that it stands for. err
// is that of the whole request, which has no scores then.
func (in inspected) results(j *job, scores []scored, err error) []ImageResult {
	out := make([]ImageResult, len(j.Items))
	for i, item := range j.Items {
		out[i] = ImageResult{ID: item.ID, Err: in.errs[i]}
		if in.errs[i] != nil {
			continue
		}
		place := in.byItem[i]
		out[i].Info, out[i].Err = in.images[place].Info, err
		if err != nil {
			continue
		}
		s := scores[place]
		out[i].Decoder, out[i].Err = s.decoder, s.err
		if s.err == nil {
			out[i].Scores, out[i].Embedding, out[i].EmbeddingCached = s.scores, s.embedding, s.cached
		}
	}
	return out
}
