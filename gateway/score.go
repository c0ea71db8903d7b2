package gateway

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// Scorer is the use case behind the scoring routes.
type Scorer interface {
	Score(ctx context.Context, req scoring.Request) (scoring.Response, error)
	Prepare(ctx context.Context, data []byte, mode quality.PreprocessMode, view quality.View) (quality.Image, error)
	PreprocessID(mode quality.PreprocessMode, recipe quality.Recipe) quality.PreprocessID
	Encoder() (quality.Encoder, bool)
}

// Checkpoints says which checkpoints there are: a [lifecycle.Library].
type Checkpoints interface {
	// Begin returns the checkpoints that a request goes by. Their models stay on the
	// servers until end is called.
	Begin() (set lifecycle.Set, end func())
}

type scoreInput struct {
	ContentType     string   `header:"Content-Type" hidden:"true"`
	ContentEncoding string   `header:"Content-Encoding" hidden:"true"`
	Checkpoint      []string `query:"checkpoint" maxItems:"64" nullable:"false" doc:"Names of checkpoints, with commas between them or in a parameter each; the server's default when absent"`
	Checkpoints     []string `query:"checkpoints" maxItems:"64" nullable:"false" doc:"As checkpoint; both count"`
	Aspects         []string `query:"aspects" maxItems:"16" nullable:"false" doc:"What to score, each by a checkpoint for that: tasks such as quality,authenticity, or TASK=CHECKPOINT; of /v1/score alone, and in place of checkpoint. A task picks the default checkpoint if that has the task, otherwise the only one that does. An image is encoded once for all of them"`
	Include         []string `query:"include" maxItems:"8" enum:"embedding,views,all_arms" nullable:"false" doc:"Further parts of the answer, as a list in the same way. views: where in the picture quality is lost. all_arms, the scores of every arm of an experiment, needs a key with the scope admin"`
	Omit            []string `query:"omit" maxItems:"8" enum:"interval,distribution" nullable:"false" doc:"Parts of the answer to leave out, as a list in the same way"`
	PromptText      string   `query:"prompt" maxLength:"4096" doc:"Text that every image was made from which has no prompt of its own in the body, for checkpoints that read prompts; of more than 75 tokens: prompt_too_long. Refused where no chosen checkpoint reads it"`
	Preprocess      string   `query:"preprocess" enum:"exact,fast" doc:"How the image becomes pixels; the server's way when absent"`
	Unit            string   `header:"X-Agiqa-Unit" maxLength:"256" doc:"Who or what is assigned to an arm as a whole, such as a user's id, where an experiment goes by this header. Kept as a keyed hash"`
	Blind           bool     `header:"X-Agiqa-Blind" doc:"Records the images in the running experiment and shows no score, so that raters can be asked about them (label-tasks). Until the experiment ends, their scores need a key with the scope admin. Needs the scope feedback, of a key that is not bound to a rater; of /v1/score alone, without checkpoints"`
	Slices          string   `header:"X-Agiqa-Slices" maxLength:"1024" doc:"Up to 8 attributes for an experiment's audience and for slices of its report: style=anime, model=sdxl"`
	Prompt          string   `header:"X-Agiqa-Prompt-Sha256" pattern:"^(sha256:)?[0-9a-f]{64}$" doc:"Of the prompt that the image was made from"`
	RawBody         []byte

	header func(name string) string
}

// Resolve implements [huma.Resolver]. An experiment may go by any header.
func (in *scoreInput) Resolve(ctx huma.Context) []error {
	in.header = ctx.Header
	return nil
}

type scoreOutput struct {
	Revision int64 `header:"X-Agiqa-Revision" doc:"Of the desired state of checkpoints that the request went by; 0 before any"`
	Body     ScoreResponse
}

func (g *Gateway) registerScoring(api huma.API) {
	g.registerScore(api, huma.Operation{
		OperationID: "score", Method: http.MethodPost, Path: "/v1/score", Summary: "Score images",
		Description: "Scores one or more images by one checkpoint, or for several tasks by one checkpoint each (aspects). " +
			"The body is one image (application/octet-stream, or " +
			"any type of image/*), " +
			"multipart/form-data with parts named image, or JSON with base64. One image that fails: its problem is the " +
			"response. " +
			"Several: 200, with an error in each result that failed.",
	}, false)
	g.registerScore(api, huma.Operation{
		OperationID: "compare", Method: http.MethodPost, Path: "/v1/compare", Summary: "Score images by several checkpoints",
		Description: "As /v1/score, by several checkpoints at once (all those of the default's task when none is named; " +
			"409 for " +
			"checkpoints of different tasks): each image is " +
			"encoded at most once, and every checkpoint's head scores the same embedding.",
	}, true)
}

func (g *Gateway) registerScore(api huma.API, op huma.Operation, compare bool) {
	op.Tags = []string{"Scoring"}
	op.MaxBodyBytes = g.cfg.MaxBodyBytes + 1 // huma refuses the bound itself
	op.SkipValidateBody = true               // bodyReader does it, for JSON only
	op.Errors = []int{400, 404, 408, 409, 413, 415, 422, 429, 502, 503, 504}
	op.RequestBody = g.scoreBody()
	huma.Register(api, op, func(ctx context.Context, in *scoreInput) (*scoreOutput, error) {
		out, err := g.score(ctx, in, compare)
		if err != nil {
			g.limits.hold(ctx, err)
			return nil, problemOf(ctx, err)
		}
		return out, nil
	})
	op.RequestBody.Required = false // huma set it; see scoreBody
}

// scoreBody describes the three forms of the body. Once registered it is not
// required, so that an empty one is refused as every other file that is no
// image. It names no media type of image/*, which is accepted as well as
// application/octet-stream: generators of clients take neither the range nor a
// third type of bytes.
func (g *Gateway) scoreBody() *huma.RequestBody {
	binary := &huma.Schema{Type: huma.TypeString, Format: "binary"}
	return &huma.RequestBody{
		Content: map[string]*huma.MediaType{
			"application/json":         {Schema: g.bodies.schema},
			"application/octet-stream": {Schema: binary},
			"multipart/form-data":      {Schema: g.bodies.form},
		},
	}
}

// score reads the body, calls the use case and shapes the answer.
func (g *Gateway) score(ctx context.Context, in *scoreInput, compare bool) (*scoreOutput, error) {
	set, end := g.checkpoints.Begin()
	defer end()
	raw, charge := gatheredOf(ctx)
	b, err := g.bodies.read(in.ContentType, in.ContentEncoding, raw, charge)
	if err != nil {
		return nil, err
	}
	b.promptAll(in.PromptText)
	names := append(splitEach(slices.Concat(in.Checkpoint, in.Checkpoints)), b.checkpoints...)
	aspects := append(splitEach(in.Aspects), b.aspects...)
	chosen, err := g.choose(set, names, aspects, compare)
	if err != nil {
		return nil, err
	}
	mode, err := b.mode(in.Preprocess)
	if err != nil {
		return nil, err
	}
	include, omit := append(in.Include, b.include...), append(in.Omit, b.omit...)
	request := scoring.Request{
		Items: b.items, Checkpoints: chosen, Preprocess: mode, Timings: idsOf(ctx).timings,
		Distances: !slices.Contains(omit, omitDistribution),
	}
	// Whoever names a checkpoint wants that one.
	if len(names)+len(aspects) == 0 && !compare {
		if request.Caller, err = in.caller(ctx); err != nil {
			return nil, err
		}
	}
	if slices.Contains(include, includeArms) {
		if err := g.require(ctx, access.ScopeAdmin); err != nil {
			return nil, err
		}
	}
	if in.Blind {
		if err := g.checkBlind(ctx, request.Caller != nil); err != nil {
			return nil, err
		}
	}
	g.limits.charge(ctx, scoreTokens(request))
	response, err := g.scorer.Score(ctx, request)
	if err != nil {
		return nil, err
	}
	if !in.Blind {
		var named []quality.Checkpoint
		if request.Caller == nil {
			named = chosen
		}
		g.withhold(ctx, response.Results, named)
	}
	g.measures.countScores(ctx, response)
	if len(response.Results) == 1 && response.Results[0].Err != nil {
		return nil, response.Results[0].Err
	}
	show := parts{
		several:   len(aspects) == 0 && (compare || len(chosen) > 1),
		aspects:   len(aspects) > 0,
		embedding: slices.Contains(include, includeEmbedding),
		views:     slices.Contains(include, includeViews),
		arms:      slices.Contains(include, includeArms),
		blind:     in.Blind,
		omit:      omit,
		way:       response.Preprocess,
	}
	id := idsOf(ctx)
	body := ScoreResponse{
		Encoder:    encoderRef(response.Encoder),
		Preprocess: string(response.Preprocess),
		RequestID:  id.Request, TraceID: id.Trace,
	}
	for _, r := range response.Results {
		if r.Err != nil {
			body.Results = append(body.Results, Result{ID: r.ID, Error: id.problem(r.Err)})
			continue
		}
		body.Results = append(body.Results, show.result(id, r))
	}
	body.TimingMS = timingMS(response.Timings, time.Since(id.start))
	return &scoreOutput{Revision: set.Revision(), Body: body}, nil
}

// checkBlind reports who may not ask for images to be scored without being told
// the scores. Whoever rates doesn't choose the images: they may know the scores
// from elsewhere.
func (g *Gateway) checkBlind(ctx context.Context, takesPart bool) error {
	if g.experiments == nil {
		return errNoExperiments
	}
	if err := g.require(ctx, access.ScopeFeedback); err != nil {
		return err
	}
	if rater := access.From(ctx).Rater; rater != "" {
		return quality.Errorf(quality.KindForbidden, "the API key is bound to rater %s; X-Agiqa-Blind is for applications, "+
			"which choose the images that raters are asked about", quality.Quote(rater))
	}
	if !takesPart {
		return quality.Errorf(quality.KindBadRequest,
			"X-Agiqa-Blind is for /v1/score without checkpoints and aspects: an experiment chooses the checkpoint")
	}
	return nil
}

// withhold takes the scores out of results that the caller must not know while
// an experiment runs. named are the checkpoints that the request names.
func (g *Gateway) withhold(ctx context.Context, results []scoring.ImageResult, named []quality.Checkpoint) {
	if g.experiments == nil || access.From(ctx).May(access.ScopeAdmin) {
		return
	}
	digests := make([]quality.Digest, len(named))
	for i, c := range named {
		digests[i] = c.Digest
	}
	for i, r := range results {
		if r.Err != nil {
			continue
		}
		if err := g.experiments.Withheld(ctx, r.Info.Digest, digests); err != nil {
			results[i] = scoring.ImageResult{ID: r.ID, Err: err}
		}
	}
}

// maxChosen is the most checkpoints of one request.
const maxChosen = 64

// choose turns what a request asks for into checkpoints.
func (g *Gateway) choose(set lifecycle.Set, names, aspects []string, compare bool) ([]quality.Checkpoint, error) {
	switch {
	case len(aspects) == 0:
		chosen, err := g.resolveCheckpoints(set, names, compare)
		if err == nil {
			err = oneTask(chosen)
		}
		return chosen, err
	case compare:
		return nil, quality.Errorf(quality.KindBadRequest,
			"aspects are for /v1/score: scores of different tasks can't be compared")
	case len(names) > 0:
		return nil, quality.Errorf(quality.KindBadRequest,
			"checkpoint and aspects exclude each other; name a checkpoint as TASK=CHECKPOINT in aspects")
	}
	return g.resolveAspects(set, aspects)
}

// resolveCheckpoints turns names into checkpoints, each once, in the order of the names.
func (g *Gateway) resolveCheckpoints(set lifecycle.Set, names []string,
	compare bool) ([]quality.Checkpoint, error) {
	if len(names) == 0 && compare {
		encoder, _ := g.scorer.Encoder()
		task := quality.TaskQuality
		if c, err := set.Default(); err == nil {
			task = c.Checkpoint.Task
		}
		var all []quality.Checkpoint // of one moment: what was listed is not looked up again
		for _, c := range set.List() {
			// one of another encoder is compared only when asked for
			if c.Checkpoint.Encoder == encoder.Digest && c.Checkpoint.Task == task && len(all) < maxChosen {
				all = append(all, c.Checkpoint)
			}
		}
		if len(all) > 0 {
			return all, nil
		}
	}
	if len(names) == 0 {
		c, err := set.Default()
		return []quality.Checkpoint{c.Checkpoint}, err
	}
	if len(names) > maxChosen {
		return nil, quality.Errorf(quality.KindBadRequest, "more than %d checkpoints in one request", maxChosen)
	}
	var chosen []quality.Checkpoint
	for _, name := range names {
		entry, err := set.Get(name)
		if err != nil {
			return nil, err
		}
		c := entry.Checkpoint
		if !slices.ContainsFunc(chosen, func(o quality.Checkpoint) bool { return o.Digest == c.Digest && o.Name == c.Name }) {
			chosen = append(chosen, c)
		}
	}
	return chosen, nil
}
