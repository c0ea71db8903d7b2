package gateway

import (
	"context"
	"encoding/json"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
)

// CheckpointView shows a checkpoint to a client.
type CheckpointView struct {
	Name     string         `json:"name"`
	Digest   quality.Digest `json:"digest"`
	Default  bool           `json:"default" doc:"Whether it scores when a request names none"`
	Encoder  quality.Digest `json:"encoder" doc:"Digest of the encoder that it was trained on"`
	Usable   bool           `json:"usable" doc:"Whether that is the encoder in use"`
	Task     quality.Task   `json:"task" example:"quality" doc:"What its scores measure. Scores of two tasks are never compared"`
	Scale    ScoreScale     `json:"scale"`
	Score    ScoreScale     `json:"score" doc:"As scale"`
	Views    []string       `json:"views" nullable:"false" doc:"Squares of a picture whose mean score is its score: 224, the middle of the picture at a short side of 224 pixels, or a cell of a larger square, such as 448/r0c1"`
	Recipe   quality.Recipe `json:"recipe" doc:"How pictures are resized and cropped for it"`
	Prompt   bool           `json:"prompt" doc:"Whether it needs the prompt that a picture was made from"`
	Coverage *float64       `json:"interval_coverage,omitempty" doc:"Nominal coverage of the intervals of its scores; absent: it gives none"`

	Reference  *CheckpointReference   `json:"reference,omitempty" doc:"Sample of its training data; absent: it has none"`
	Evaluation []CheckpointEvaluation `json:"evaluation" nullable:"false" doc:"How well it agreed with people"`

	Position      string         `json:"class_token_position" enum:"end,middle,front"`
	ContextLength int            `json:"context_length" doc:"Learned vectors in each prompt"`
	ClassSpecific bool           `json:"class_specific_context" doc:"Whether each category has vectors of its own"`
	Licence       string         `json:"licence"`
	Imported      bool           `json:"imported" doc:"Whether it came at run time and may be removed"`
	Training      map[string]any `json:"training,omitempty"`
	Metrics       map[string]any `json:"metrics,omitempty"`
}

type listOutput struct {
	Body struct {
		Checkpoints []CheckpointView `json:"checkpoints" nullable:"false"`
		Default     string           `json:"default"`
		Revision    int64            `json:"revision" doc:"Of the desired state that this gateway serves; 0 before any"`
		Wanted      int64            `json:"wanted_revision" doc:"Latest revision that it has seen; while it is another one, some of it isn't ready here"`
		Encoder     *EncoderRef      `json:"encoder,omitempty" doc:"The encoder in use, of which an imported checkpoint has to be; absent while there is none"`
	}
}

// showInput bounds no name: each that is not there gets the same answer.
type showInput struct {
	Name string `path:"name"`
}

type showOutput struct{ Body CheckpointView }

func (g *Gateway) registerCheckpoints(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-checkpoints", Method: http.MethodGet, Path: "/v1/checkpoints",
		Summary: "List checkpoints", Tags: []string{"Checkpoints"},
	}, func(ctx context.Context, _ *struct{}) (*listOutput, error) {
		out := &listOutput{}
		out.Body.Checkpoints = []CheckpointView{}
		if e, ok := g.scorer.Encoder(); ok {
			ref := encoderRef(e)
			out.Body.Encoder = &ref
		}
		set, end := g.checkpoints.Begin()
		defer end()
		out.Body.Revision, out.Body.Wanted = set.Revision(), set.Revision()
		if g.changes != nil {
			out.Body.Wanted = g.changes.Standing().Wanted
		}
		for _, c := range set.List() {
			view := g.checkpointView(set, c)
			out.Body.Checkpoints = append(out.Body.Checkpoints, view)
			if view.Default {
				out.Body.Default = view.Name
			}
		}
		return out, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "show-checkpoint", Method: http.MethodGet, Path: "/v1/checkpoints/{name}",
		Summary: "Show a checkpoint", Tags: []string{"Checkpoints"}, Errors: []int{404},
	}, func(ctx context.Context, in *showInput) (*showOutput, error) {
		set, end := g.checkpoints.Begin()
		defer end()
		c, err := set.Get(in.Name)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		view := g.checkpointView(set, c)
		view.Training, view.Metrics = object(c.Manifest.Training), object(c.Manifest.Metrics)
		return &showOutput{Body: view}, nil
	})
}

// checkpointView is what a list shows of a checkpoint.
func (g *Gateway) checkpointView(set lifecycle.Set, e lifecycle.Entry) CheckpointView {
	encoder, ok := g.scorer.Encoder()
	def, err := set.Default()
	c, m := e.Checkpoint, e.Manifest
	view := CheckpointView{
		Name: c.Name, Digest: c.Digest, Default: err == nil && def.Checkpoint.Name == c.Name,
		Prompt: c.Prompt, Encoder: c.Encoder, Usable: ok && encoder.Digest == c.Encoder,
		Position: string(m.ClassTokenPosition), ContextLength: m.ContextLength, ClassSpecific: m.ClassSpecific,
		Licence: m.Licence, Imported: e.Imported,
	}
	view.meaning(c, m)
	return view
}

// object reads a free-form part of a manifest, which the bundle reader has
// checked to be an object.
func object(raw json.RawMessage) map[string]any {
	var out map[string]any
	if err := json.Unmarshal(raw, &out); err != nil {
		return nil
	}
	return out
}
