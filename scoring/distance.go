package scoring

import (
	"slices"

	"github.com/agiqa/agiqa/quality"
)

// measureDistances adds to each score how far its image is from the reference
// of its checkpoint. Equal images of a request share their scores, so these are
// copied.
func measureDistances(images []ImageResult) {
	for i, image := range images {
		images[i].Scores = slices.Clone(image.Scores)
		for k := range images[i].Scores {
			s := &images[i].Scores[k]
			if s.Checkpoint.Reference == nil || s.Err != nil {
				continue
			}
			views := s.Checkpoint.Views.List()
			embeddings := make([]quality.Embedding, len(views))
			for n, v := range views {
				embeddings[n] = image.Embeddings[v]
			}
			var err error
			if s.Distance, err = s.Checkpoint.Reference.Distance(embeddings); err != nil {
				s.Err = quality.Errorf(quality.KindInternal, "checkpoint %s: the distance to its reference can't be computed",
					s.Checkpoint.Name).Because(err)
			}
		}
	}
}
