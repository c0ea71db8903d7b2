package scoring

import (
	"context"
	"sync"

	"go.opentelemetry.io/otel/trace"
	"golang.org/x/sync/errgroup"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Item is one image of a request.
type Item struct {
	ID   string
	Data []byte // the file
	// Prompt is the text that the picture was made from. Every item has one where a
	// checkpoint reads prompts, and none has one otherwise.
	Prompt string
	Err    error // set when the image could not even be read: it is passed through
}

// Request asks for the scores of images by checkpoints.
type Request struct {
	Items       []Item
	Checkpoints []quality.Checkpoint   // at least one
	Preprocess  quality.PreprocessMode // empty: the server's own
	Distances   bool                   // measure how far images are from the checkpoints' references
	Timings     *Timings               // of what the caller did before, to be continued; nil: nothing
	Caller      *experiment.Caller     // nil: the request takes no part in experiments
}

// CheckpointScore is the score of one image by one checkpoint, or Err: several
// checkpoints do not fail because one of them does.
type CheckpointScore struct {
	Checkpoint        quality.Checkpoint
	Preprocess        quality.PreprocessID // how its pixels were made
	quality.HeadScore                      // the mean over Views
	Views             []ViewScore          // those of the checkpoint, in its order; none with an Err
	Distance          float64              // from the checkpoint's reference; 0 where it has none or nobody asked
	TextCached        bool                 // no text encoder ran for it
	Err               error
}

// ImageResult is the outcome for one image: Scores in the order of the
// request's checkpoints, at least one of them without an Err; or Err.
type ImageResult struct {
	ID              string
	Info            quality.ImageInfo
	Decoder         string // what decoded it; empty where nothing had to
	Scores          []CheckpointScore
	Embeddings      map[quality.View]quality.Embedding // of the views of all checkpoints
	EmbeddingCached bool                               // no image encoder ran for any of them in this request
	Err             error

	Shown *experiment.Shown // the experiment that chose the checkpoint; nil: none did
	Arms  []CheckpointScore // by every arm of it, for whoever may know
}

// Response answers a Request: one result per item, in order.
type Response struct {
	Encoder    quality.Encoder
	Preprocess quality.PreprocessID // of the first checkpoint; in an experiment, of the control
	Results    []ImageResult
	Timings    *Timings
}

// Score scores every image by every checkpoint.
//
// An image that is at fault has its own Err in the results, and so has one of
// several checkpoints that fails, in its scores. The call itself
// fails when nothing could be scored for a reason that is not an image's:
// overloaded, model_unavailable, model_bad_output, deadline_exceeded,
// encoder_mismatch, bad_request for prompts that don't fit the checkpoints.
func (s *Service) Score(ctx context.Context, req Request) (Response, error) {
	j, err := s.newJob(req)
	if err != nil {
		return Response{}, err
	}
	in := s.inspect(ctx, j)
	rows, release, err := s.admit(ctx, j, j.rows(in))
	if err != nil {
		return Response{}, err
	}
	defer release()
	scores, err := s.scoreImages(ctx, j, rows)
	results := in.results(j, scores, err)
	if j.Distances {
		measureDistances(results)
	}
	for _, r := range results {
		s.telemetry.countImage(ctx, r.Info.Format, r.Err)
	}
	if err != nil {
		return Response{}, err
	}
	return Response{
		Encoder: j.models.Encoder, Preprocess: j.preprocess(req.Checkpoints[0].Views.Recipe()),
		Results: results, Timings: j.timings,
	}, nil
}

// job is a request with what it runs on. No step changes it.
type job struct {
	Request
	models     *Models
	timings    *Timings
	preprocess func(quality.Recipe) quality.PreprocessID
	views      []quality.View // of all checkpoints
}

func (s *Service) newJob(req Request) (*job, error) {
	models, err := s.modelsFor(req.Checkpoints)
	if err != nil {
		return nil, err
	}
	if err := checkPrompts(req, models.Encoder); err != nil {
		return nil, err
	}
	j := &job{
		Request: req, models: models, timings: req.Timings, views: viewsOf(req.Checkpoints),
		preprocess: func(r quality.Recipe) quality.PreprocessID { return s.PreprocessID(req.Preprocess, r) },
	}
	if rows := len(req.Items) * len(j.views); s.maxRows > 0 && rows > s.maxRows {
		return nil, quality.Errorf(quality.KindPayloadTooLarge,
			"%d images in %d views each are %d rows for the encoder; one request may have %d (max-rows)",
			len(req.Items), len(j.views), rows, s.maxRows)
	}
	if j.timings == nil {
		j.timings = &Timings{}
	}
	return j, nil
}

// admit looks embeddings up, which is cheap and tells what the request will
// cost, and takes a turn for it. It returns the rows with what the cache knows
// of them. Nothing is decoded for a Triton that is known to be gone.
func (s *Service) admit(ctx context.Context, j *job, rows []row) (_ []row, release func(), err error) {
	if len(rows) == 0 {
		return nil, func() {}, nil
	}
	rows = s.lookUp(ctx, j, rows)
	cost := costOf(rows)
	if cost > 0 {
		if err := s.available(); err != nil {
			return nil, nil, err
		}
	}
	waited := false
	err = s.telemetry.run(ctx, j.timings, StageAdmission, func(ctx context.Context, _ trace.Span) (err error) {
		release, waited, err = s.admission.acquire(ctx, cost)
		return err
	})
	if waited && err == nil {
		rows = s.lookUp(ctx, j, rows) // others may have brought them meanwhile
	}
	return rows, release, err
}

// costOf is what the rows that are missing cost: a decode for each image, and a
// share for each row.
func costOf(rows []row) float64 {
	cost, decoded := 0.0, -1
	for _, r := range rows {
		if r.found() {
			continue
		}
		cost += costOfRow
		if r.image != decoded { // the rows of an image are neighbours
			cost, decoded = cost+r.DecodeCost(), r.image
		}
	}
	return cost
}

// plan is how an admitted job gets its scores.
type plan struct {
	*job
	panel *quality.Panel         // that has all the checkpoints; nil: heads one by one
	texts func() ([]text, error) // by checkpoint, fetched once; a panel holds its own
	// prompts are those of the pictures by their text, fetched once.
	prompts func() map[string]promptText
}

// ensemble reports whether one call embeds and scores.
func (p plan) ensemble() bool { return len(p.Checkpoints) == 1 && p.Checkpoints[0].HasEnsemble() }

func (s *Service) newPlan(ctx context.Context, j *job) plan {
	p := plan{
		job:     j,
		texts:   sync.OnceValues(func() ([]text, error) { return s.fetchTexts(ctx, j) }),
		prompts: sync.OnceValue(func() map[string]promptText { return s.fetchPrompts(ctx, j) }),
	}
	if j.models.Panels == nil || len(j.Checkpoints) < 2 {
		return p
	}
	if panel, ok := j.models.Panels.Cover(j.Checkpoints); ok && panel.Encoder == j.models.Encoder.Digest {
		p.panel = &panel
	}
	return p
}

// scoreImages embeds and scores rows, and makes the scores of the images of
// them. Texts and rows do not depend on each other and are fetched side by side.
// With an ensemble known rows do not wait for the others; otherwise one call to
// each model is for all.
func (s *Service) scoreImages(ctx context.Context, j *job, rows []row) ([]scored, error) {
	if len(rows) == 0 {
		return nil, nil
	}
	out := make([]scoredRow, len(rows))
	group, ctx := errgroup.WithContext(ctx)
	p := s.newPlan(ctx, j)
	if p.panel == nil {
		group.Go(func() error { _, err := p.texts(); return err })
	}
	if j.readsPrompts() {
		group.Go(func() error { p.prompts(); return nil })
	}
	score := func(which func(row) bool) {
		group.Go(func() error {
			return applyTo(rows, which, out, func(rows []row) ([]scoredRow, error) {
				embedded, err := s.embedder.embed(ctx, p, rows)
				if err != nil {
					return nil, err
				}
				return s.heads.score(ctx, p, rows, embedded)
			})
		})
	}
	if p.ensemble() {
		score(row.missing)
		score(row.found)
	} else {
		score(func(row) bool { return true })
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return join(j, out), nil
}

// applyTo calls f, if at all, with those elements that match, and puts what it
// returns for each in its place of out.
func applyTo[I, O any](in []I, match func(I) bool, out []O, f func([]I) ([]O, error)) error {
	var chosen []I
	var places []int
	for i, x := range in {
		if match(x) {
			chosen, places = append(chosen, x), append(places, i)
		}
	}
	if len(chosen) == 0 {
		return nil
	}
	results, err := f(chosen)
	if err != nil {
		return err
	}
	for k, i := range places {
		out[i] = results[k]
	}
	return nil
}
