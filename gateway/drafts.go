package gateway

import (
	"context"
	"mime"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
)

// ChangedExperiment is an experiment after a change.
type ChangedExperiment struct {
	experiment.Experiment
	Warnings []string `json:"warnings,omitempty" nullable:"false" doc:"What a running experiment does not get of what its definition says, or takes from another one"`
}

type changedOutput struct{ Body ChangedExperiment }

// changed answers a change after which requests may go to another experiment.
func (g *Gateway) changed(ctx context.Context, do func() (experiment.Experiment, error)) (*changedOutput, error) {
	out, err := experimentAnswer(ctx, do)
	if err != nil {
		return nil, err
	}
	return &changedOutput{Body: ChangedExperiment{out.Body, g.experiments.Warnings(out.Body.ID)}}, nil
}

// definition makes an operation take a definition in YAML or JSON, and returns what
// reads it.
func (g *Gateway) definition(api huma.API,
	op *huma.Operation) func(contentType string, text []byte) ([]byte, error) {
	op.MaxBodyBytes = experiment.MaxDefinitionBytes + 1
	op.SkipValidateBody = true
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[experiment.Definition](), true, "")
	op.RequestBody = &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{
		"application/json": {Schema: schema},
		"application/yaml": {Schema: binarySchema()}, // as text, generators of clients don't take it
	}}
	return func(contentType string, text []byte) ([]byte, error) {
		kind, params, _ := mime.ParseMediaType(contentType)
		if !isUTF8(params) {
			return nil, errCharset
		}
		if kind != "application/json" {
			return text, nil
		}
		if err := g.bodies.checkNames(text, schema); err != nil {
			return nil, err
		}
		return experiment.DefinitionOfJSON(text)
	}
}

type editInput struct {
	ID          string `path:"id" maxLength:"64"`
	Revision    int64  `query:"revision" minimum:"0" doc:"Refuse with conflict unless the experiment is at this revision"`
	ContentType string `header:"Content-Type" hidden:"true"`
	RawBody     []byte `contentType:"application/yaml"`
}

type cloneInput struct {
	ID   string `path:"id" maxLength:"64"`
	Body CloneRequest
}

// CloneRequest is the body of a clone.
type CloneRequest struct {
	ID string `json:"id" maxLength:"64" doc:"Of the new draft: letters, digits and hyphens, in lower case"`
}

// registerDrafts adds the routes that make and change drafts.
func (g *Gateway) registerDrafts(api huma.API, operation newOperation) {
	edit := operation(http.MethodPut, "/v1/experiments/{id}", "edit-experiment", "Edit a draft",
		400, 408, 409, 413, 415, 422)
	edit.Description = "The body is a definition, as for a new experiment, with the same id; it takes the place of the " +
		"one before. What has started isn't edited: clone it."
	read := g.definition(api, &edit)
	huma.Register(api, edit, func(ctx context.Context, in *editInput) (*experimentOutput, error) {
		return experimentAnswer(ctx, func() (experiment.Experiment, error) {
			definition, err := read(in.ContentType, in.RawBody)
			if err != nil {
				return experiment.Experiment{}, err
			}
			return g.experiments.Edit(ctx, experiment.ID(in.ID), in.Revision, definition, access.From(ctx).By())
		})
	})
	clone := operation(http.MethodPost, "/v1/experiments/{id}/clone", "clone-experiment",
		"Make a draft of what an experiment is now", 400, 408, 409, 413, 415, 422)
	clone.Description = "The draft has a salt of its own, so that its units fall to other arms, and begins its ramp " +
		"anew. Its checkpoints are those that have these names now. An arm that a guardrail took out is back, with weight 0."
	clone.DefaultStatus = http.StatusCreated
	huma.Register(api, clone, func(ctx context.Context, in *cloneInput) (*experimentOutput, error) {
		return experimentAnswer(ctx, func() (experiment.Experiment, error) {
			return g.experiments.Clone(ctx, experiment.ID(in.ID), experiment.ID(in.Body.ID), access.From(ctx).By())
		})
	})
	remove := operation(http.MethodDelete, "/v1/experiments/{id}", "delete-experiment", "Delete a draft", 409)
	remove.Description = "Answers with what was deleted. Experiments that were started have records and are archived " +
		"instead."
	huma.Register(api, remove, func(ctx context.Context, in *changeInput) (*experimentOutput, error) {
		return experimentAnswer(ctx, func() (experiment.Experiment, error) {
			return g.experiments.Delete(ctx, experiment.ID(in.ID), in.Revision, access.From(ctx).By())
		})
	})
}
