package scoring

import (
	"context"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// Item is one image of a request.
type Item struct {
	ID   string
	Data []byte // the file
	Err  error  // set when the image could not even be read: it is passed through
}

// Request asks for the scores of images by checkpoints.
type Request struct {
	Items       []Item
	Checkpoints []quality.Checkpoint   // at least one
	Preprocess  quality.PreprocessMode // empty: the server's own
	Timings     *Timings               // of what the caller did before, to be continued; nil: nothing
	Caller      *experiment.Caller     // nil: the request takes no part in experiments
}

// Verdict is what one checkpoint says of one image, or Err: several
// checkpoints do not fail because one of them does.
type Verdict struct {
	Checkpoint quality.Checkpoint
	quality.Judgement
	TextCached bool // no text encoder ran for it
	Err        error
}

// ImageResult is the outcome for one image: Verdicts in the order of the
// request's checkpoints, at least one of them without an Err; or Err.
type ImageResult struct {
	ID              string
	Info            quality.ImageInfo
	Decoder         string // what decoded it; empty where nothing had to
	Verdicts        []Verdict
	Embedding       quality.Embedding
	EmbeddingCached bool
	Err             error

	Shown *experiment.Shown // the experiment that chose the checkpoint; nil: none did
	Arms  []Verdict         // of every arm of it, for whoever may know
}

// Response answers a Request: one result per item, in order.
type Response struct {
	Encoder    quality.Encoder
	Preprocess quality.PreprocessID
	Results    []ImageResult
	Timings    *Timings
}

// Score scores every image by every checkpoint.
//
// An image that is at fault has its own Err in the results, and so has one of
// several checkpoints that fails, in its verdicts. The call itself
// fails when nothing could be scored for a reason that is not an image's:
// overloaded, model_unavailable, model_bad_output, deadline_exceeded,
// encoder_mismatch.
func (s *Service) Score(ctx context.Context, req Request) (Response, error) {
	w := &work{service: s, request: req, timings: req.Timings}
	if w.timings == nil {
		w.timings = &Timings{}
	}
	var err error
	if w.models, err = s.current(); err != nil {
		return Response{}, err
	}
	for _, c := range req.Checkpoints {
		if c.Encoder != w.models.Encoder.Digest {
			return Response{}, quality.Errorf(quality.KindEncoderMismatch,
				"checkpoint %s was trained on another encoder than the one in use (%s)", c.Name, w.models.Encoder.Name)
		}
	}
	release, err := w.admit(ctx)
	if err != nil {
		return Response{}, err
	}
	defer release()
	err = w.run(ctx)
	w.count(ctx)
	if err != nil {
		return Response{}, err
	}
	return Response{
		Encoder: w.models.Encoder, Preprocess: s.preparer.ID(req.Preprocess), Results: w.results(), Timings: w.timings,
	}, nil
}
