package scoring

import (
	"context"
	"math"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/quality"
)

// The stages of an experiment.
const (
	StageAssign Stage = "experiment.assign" // which experiment and which arm
	StageExpose Stage = "experiment.expose" // the record, durable before the answer
)

// Director decides whether a request that leaves the choice of the checkpoint
// to the server takes part in an experiment.
type Director interface {
	// Enrol returns nil where it takes part in none. images gives the digest of
	// each image that could be read, by its place; nil where it could not.
	Enrol(ctx context.Context, c experiment.Caller, images []func() quality.Digest) Trial
}

// Trial is the part that one request takes in an experiment.
type Trial interface {
	// Arms are those that score, with their checkpoints; one of them is the
	// control.
	Arms() ([]experiment.Arm, []quality.Checkpoint)
	// Expose records what became of the request and says, for each image, which
	// arm answers; nil for one that is in no arm. It waits for the record, not
	// longer than it has set itself.
	Expose(ctx context.Context, s experiment.Scored) []*experiment.Shown
}

// Directed scores as its Service does, and lets requests take part in
// experiments: all arms score one embedding, and the answer holds the score
// of the assigned one.
type Directed struct {
	*Service
	director Director
}

// NewDirected returns s with a director.
func NewDirected(s *Service, d Director) *Directed { return &Directed{Service: s, director: d} }

// Score scores a request. One without a Caller takes no part; neither does one
// that no experiment wants, or whose experiment cannot be served here any more.
func (d *Directed) Score(ctx context.Context, req Request) (Response, error) {
	if req.Caller == nil {
		return d.Service.Score(ctx, req)
	}
	start := time.Now()
	if req.Timings == nil {
		req.Timings = &Timings{}
	}
	timings := req.Timings
	var trial Trial
	images := digestsOf(req.Items)
	_ = d.telemetry.run(ctx, timings, StageAssign, func(ctx context.Context, span trace.Span) error {
		trial = d.director.Enrol(ctx, *req.Caller, images)
		span.SetAttributes(attribute.Bool("agiqa.experiment.enrolled", trial != nil))
		return nil
	})
	if trial == nil {
		return d.Service.Score(ctx, req)
	}
	arms, checkpoints := trial.Arms()
	all := req
	all.Checkpoints = checkpoints
	if models, err := d.modelsFor(checkpoints); err == nil && checkPrompts(all, models.Encoder) != nil {
		// The arms read prompts and the request has none, or the other way round.
		return d.Service.Score(ctx, req)
	}
	response, err := d.Service.Score(ctx, all)
	switch quality.KindOf(err) {
	case quality.KindEncoderMismatch:
		return d.Service.Score(ctx, req) // the encoder was exchanged this moment
	case quality.KindOverloaded, quality.KindDraining:
		return response, err // turned away before anything was scored, alike for every arm
	}
	control := controlOf(arms)
	scored := outcomes(response, err, images, arms)
	response.Preprocess = d.PreprocessID(req.Preprocess, checkpoints[control].Views.Recipe())
	scored.Preprocess = response.Preprocess
	scored.TotalMS = milliseconds(time.Since(start))
	if err == nil {
		scored.HeadMS = headMS(response.Timings)
	}
	var shown []*experiment.Shown
	_ = d.telemetry.run(ctx, timings, StageExpose, func(ctx context.Context, _ trace.Span) error {
		shown = trial.Expose(ctx, scored)
		return nil
	})
	if err != nil {
		return response, err
	}
	for i := range response.Results {
		response.Results[i].show(shown[i], control)
	}
	return response, nil
}

// digestsOf gives the digest of each image, computed once and when asked for.
func digestsOf(items []Item) []func() quality.Digest {
	out := make([]func() quality.Digest, len(items))
	for i, item := range items {
		if item.Err == nil {
			out[i] = sync.OnceValue(func() quality.Digest { return quality.DigestOf(item.Data) })
		}
	}
	return out
}

// outcomes tells the arms' scores of a response, or how it failed.
func outcomes(r Response, err error, images []func() quality.Digest, arms []experiment.Arm) experiment.Scored {
	out := experiment.Scored{Encoder: r.Encoder.Digest}
	out.Outcomes = make([]experiment.Outcome, len(images))
	for i, image := range images {
		o := &out.Outcomes[i]
		if image == nil {
			o.Status = string(quality.KindBadRequest) // not an image that anybody was shown
			continue
		}
		o.Image, o.Status = image(), experiment.Ok
		if err != nil {
			o.Status = string(quality.KindOf(err))
			continue
		}
		result := r.Results[i]
		o.Cached = result.EmbeddingCached
		if result.Err != nil {
			o.Status = string(quality.KindOf(result.Err))
		}
		for k, v := range result.Scores {
			s := experiment.ArmScore{Arm: arms[k].ID, Score: v.Score}
			if v.Err != nil {
				s.Fault = string(quality.KindOf(v.Err))
			} else if f := float64(v.Score); math.IsNaN(f) || math.IsInf(f, 0) {
				s.Score, s.Fault = 0, "nan"
			}
			o.Scores = append(o.Scores, s)
		}
	}
	return out
}

// headMS is the time of the heads: alone, or within the ensemble.
func headMS(t *Timings) float64 {
	stages := t.Stages()
	return milliseconds(max(stages[StageHead], stages[StagePanel]))
}

func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func controlOf(arms []experiment.Arm) int {
	for i, a := range arms {
		if a.Role == experiment.Control {
			return i
		}
	}
	return 0
}

// show makes the score of the arm that answers the only one that is seen. The
// others stay in Arms, for whoever may know.
func (r *ImageResult) show(s *experiment.Shown, control int) {
	if len(r.Scores) == 0 {
		r.Shown = s
		return
	}
	served := control
	if s != nil {
		served = s.Served
	}
	r.Shown, r.Arms = s, r.Scores
	r.Scores = []CheckpointScore{r.Arms[served]}
	if err := r.Scores[0].Err; err != nil { // the arm's and the control's
		r.Err = err
	}
}
