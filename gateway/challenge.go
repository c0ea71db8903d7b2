package gateway

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/internal/proof"
	"github.com/agiqa/agiqa/quality"
)

type challengeOutput struct{ Body proof.Answer }

// registerChallenge adds the route by which a client makes sure that it talks to the
// server that has its admin key, before it sends the key.
func (g *Gateway) registerChallenge(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "challenge", Method: http.MethodPost, Path: proof.Path, Tags: []string{"Operation"},
		Summary: "Prove that the server knows the admin key",
		Description: "The proof is for an address of this server only: one that the request came in on, or a name in the " +
			"setting allowed-hosts.",
		Errors: []int{400, 401, 408, 413, 415, 422}, MaxBodyBytes: 4 << 10,
	}, func(ctx context.Context, in *struct{ Body proof.Challenge }) (*challengeOutput, error) {
		if g.cfg.AdminKey == "" {
			return nil, problemOf(ctx, quality.Errorf(quality.KindUnauthenticated, "the server has no admin-key"))
		}
		if !ownHosts(g.cfg).Serves(ctx, in.Body.Address) {
			return nil, problemOf(ctx, quality.Errorf(quality.KindMisdirected,
				"this server isn't known to be at %s; if it is, add that to the setting allowed-hosts",
				quality.Quote(clip(in.Body.Address, 128))))
		}
		key, err := g.proofKey()
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		return &challengeOutput{Body: key.Answer(in.Body)}, nil
	})
}
