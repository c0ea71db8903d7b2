package scoring

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// inspected are the distinct images of a request: the same file sent twice is
// worked on once, and once for each of its prompts where a checkpoint reads them.
type inspected struct {
	images []imageprep.Inspected
	prompt []string // by image
	byItem []int    // the place of each item's image, where it has no error
	errs   []error  // by item
}

// row is one view of an image, as the encoder takes it, and its embedding where
// the cache knows it.
type row struct {
	imageprep.Inspected
	image int // its place among the images of the request

	prompt string // of the image
	view   quality.View
	known  quality.Embedding
}

func (r row) found() bool   { return r.known != nil }
func (r row) missing() bool { return r.known == nil }

// rows are the views of the images that the checkpoints of the request need:
// image by image, each with j.views in order.
func (j *job) rows(in inspected) []row {
	rows := make([]row, 0, len(in.images)*len(j.views))
	for i, one := range in.images {
		for _, v := range j.views {
			rows = append(rows, row{Inspected: one, image: i, prompt: in.prompt[i], view: v})
		}
	}
	return rows
}

func (j *job) key(r row) quality.EmbeddingKey {
	return quality.EmbeddingKey{
		Image: r.Info.Digest, Preprocess: j.preprocess(r.view.Recipe()).At(r.view),
		Encoder: j.models.Encoder.ImageIdentity(),
	}
}

// inspect is the stage that reads headers without decoding anything.
func (s *Service) inspect(ctx context.Context, j *job) inspected {
	in := inspected{byItem: make([]int, len(j.Items)), errs: make([]error, len(j.Items))}
	_ = s.telemetry.run(ctx, j.timings, StageInspect, func(_ context.Context, span trace.Span) error {
		type content struct {
			image  quality.Digest
			prompt string
		}
		seen := map[content]int{}
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
			key := content{one.Info.Digest, item.Prompt}
			place, again := seen[key]
			if !again {
				place = len(in.images)
				seen[key] = place
				in.images, in.prompt = append(in.images, one), append(in.prompt, item.Prompt)
			}
			in.byItem[i] = place
		}
		span.SetAttributes(attribute.Int("agiqa.images", len(j.Items)),
			attribute.Int("agiqa.images.distinct", len(in.images)+unreadable), attribute.Int("agiqa.views", len(j.views)))
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
			out[i].Scores, out[i].Embeddings, out[i].EmbeddingCached = s.scores, s.embeddings, s.cached
		}
	}
	return out
}
