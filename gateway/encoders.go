package gateway

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
)

// EncoderChoice is the body of PUT /v1/encoder.
type EncoderChoice struct {
	Digest    quality.Digest `json:"digest" doc:"Of the weights, as GET /v1/encoder shows it"`
	Precision *string        `json:"precision,omitempty" maxLength:"32" example:"int8" doc:"Absent: the one that servers hold. Required where they hold the encoder in several precisions"`
}

// EncoderStatus says which encoders there are.
type EncoderStatus struct {
	InUse    *EncoderRef   `json:"in_use,omitempty" doc:"The one that this gateway scores with; absent: none yet"`
	Chosen   *ChosenRef    `json:"chosen,omitempty" doc:"The one that somebody chose: every gateway uses it as soon as one of its inference servers holds it. Absent: nobody did, and each gateway stays with the one in use as long as a server holds it"`
	Held     []HeldEncoder `json:"held" nullable:"false" doc:"What the inference servers of this gateway hold"`
	Complete bool          `json:"complete" doc:"Whether every inference server answered"`
	Revision int64         `json:"revision" doc:"Of the desired state that this gateway serves"`
}

// ChosenRef identifies an encoder that was chosen.
type ChosenRef struct {
	Digest    quality.Digest `json:"digest" doc:"Of the weights"`
	Precision string         `json:"precision,omitempty" doc:"How it computes; absent: full precision"`
}

// HeldEncoder is an encoder that servers hold.
type HeldEncoder struct {
	EncoderRef
	Servers int `json:"servers" doc:"How many inference servers hold it"`
}

type encoderInput struct{ Body EncoderChoice }

type encoderOutput struct{ Body EncoderStatus }

func encoderStatus(e lifecycle.Encoders) *encoderOutput {
	out := EncoderStatus{Held: []HeldEncoder{}, Complete: !e.Silent, Revision: e.Revision}
	if !e.InUse.Digest.IsZero() {
		ref := encoderRef(e.InUse)
		out.InUse = &ref
	}
	if !e.Chosen.Digest.IsZero() {
		out.Chosen = &ChosenRef{e.Chosen.Digest, e.Chosen.Precision}
	}
	for _, h := range e.Held {
		out.Held = append(out.Held, HeldEncoder{encoderRef(h.Encoder), h.Servers})
	}
	return &encoderOutput{Body: out}
}

func (g *Gateway) registerEncoders(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "show-encoder", Method: http.MethodGet, Path: "/v1/encoder", Summary: "Show the encoders",
		Description: "Asks the inference servers which encoders they hold. They differ during an upgrade of one after the " +
			"other.",
		Tags: []string{"Checkpoints"}, Errors: []int{502, 503, 504},
	}, func(ctx context.Context, _ *struct{}) (*encoderOutput, error) {
		e, err := g.changes.Encoders(ctx)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		return encoderStatus(e), nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "use-encoder", Method: http.MethodPut, Path: "/v1/encoder", Summary: "Use another encoder",
		Description: "Every gateway of the store moves to the encoder within a second or two, if one of its inference " +
			"servers holds it, and its default becomes the checkpoint of that encoder. Requests that have begun are " +
			"answered. 409 where no inference server of this gateway holds it, or no checkpoint could be the default.",
		Tags: []string{"Checkpoints"}, Errors: []int{400, 408, 409, 415, 502, 503, 504}, MaxBodyBytes: 4 << 10,
	}, func(ctx context.Context, in *encoderInput) (*encoderOutput, error) {
		e, err := g.changes.UseEncoder(ctx, in.Body.Digest, in.Body.Precision, access.From(ctx).By())
		g.measures.countChange(ctx, "encoder", err)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		return encoderStatus(e), nil
	})
}
