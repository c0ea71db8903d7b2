package scoring

import (
	"slices"

	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/quality"
)

// ViewScore is what a checkpoint says of one view of an image.
type ViewScore struct {
	View  quality.View
	Box   quality.Box // the part of the original picture that it covers
	Score float32
}

// viewsOf are the distinct views of checkpoints, in the order in which they
// first come.
func viewsOf(checkpoints []quality.Checkpoint) []quality.View {
	var views []quality.View
	for _, c := range checkpoints {
		for _, v := range c.Views.List() {
			if !slices.Contains(views, v) {
				views = append(views, v)
			}
		}
	}
	return views
}

// scored is an image with its scores by checkpoint, at least one of them
// without an error; where the image has an error there are none.
type scored struct {
	embeddings map[quality.View]quality.Embedding
	decoder    string // what decoded it for this request
	cached     bool   // no encoder ran for any of its rows in this request
	scores     []CheckpointScore
	err        error
}

// join makes the scores of images of those of their rows, which come image by
// image as [job.rows] gives them. An image to which no checkpoint gave a number
// has the first one's error.
func join(j *job, rows []scoredRow) []scored {
	out := make([]scored, 0, len(rows)/len(j.views))
	for rows := range slices.Chunk(rows, len(j.views)) {
		one := scored{embeddings: map[quality.View]quality.Embedding{}, cached: true}
		for _, r := range rows {
			if one.err == nil {
				one.err = r.embedded.err
			}
			if r.decoder != "" {
				one.decoder = r.decoder
			}
			one.cached = one.cached && r.cached
			one.embeddings[r.view] = r.embedding
		}
		if one.err == nil {
			for k, c := range j.Checkpoints {
				s := mean(c, k, rows)
				s.Preprocess = j.preprocess(c.Views.Recipe())
				one.scores = append(one.scores, s)
			}
			one.err = everyFault(one.scores)
		}
		out = append(out, one)
	}
	return out
}

// mean is the score of checkpoint k, which is c, of an image: the mean of its
// scores of its views, in float64. One view's score is its own. Where a view
// has an error, so has the image.
func mean(c quality.Checkpoint, k int, rows []scoredRow) CheckpointScore {
	views := c.Views.List()
	out := CheckpointScore{Checkpoint: c, Views: make([]ViewScore, 0, len(views))}
	var score float64
	var similarity [quality.CategoryCount]float64
	for _, v := range views {
		r := rows[slices.IndexFunc(rows, func(r scoredRow) bool { return r.view == v })]
		one := r.scores[k]
		out.TextCached = one.TextCached
		if one.Err != nil {
			return CheckpointScore{Checkpoint: c, TextCached: one.TextCached, Err: one.Err}
		}
		score += float64(one.Score)
		for i, s := range one.Similarity {
			similarity[i] += float64(s)
		}
		out.Views = append(out.Views, ViewScore{
			View: v, Box: imageprep.BoxOf(r.Info.Width, r.Info.Height, v), Score: one.Score,
		})
	}
	n := float64(len(views))
	out.Score = float32(score / n)
	for i, s := range similarity {
		out.Similarity[i] = float32(s / n)
	}
	return out
}
