package gateway

import (
	"context"
	"net/http"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/quality"
)

var errNoKeys = quality.Errorf(quality.KindNotFound,
	"this server keeps no API keys: its setting experiment-store is none")

// KeyRequest is the body of POST /v1/keys.
type KeyRequest struct {
	Name      string         `json:"name" pattern:"^[a-z0-9][a-z0-9._-]{0,63}$" doc:"Who uses the key. At most two valid keys have the same name: the second one replaces the first"`
	Scopes    []access.Scope `json:"scopes" minItems:"1" maxItems:"16" nullable:"false" doc:"What it allows; admin includes the others"`
	Rater     string         `json:"rater,omitempty" maxLength:"256" doc:"With the scope feedback: the only rater that the key labels as. Absent: it belongs to an application, which names its raters"`
	ExpiresIn string         `json:"expires_in,omitempty" maxLength:"32" example:"90d" doc:"A duration such as 12h, or days such as 90d; absent: it never expires"`
}

// APIKey is what the server knows of a key.
type APIKey struct {
	ID        string         `json:"id"`
	Name      string         `json:"name"`
	Scopes    []access.Scope `json:"scopes" nullable:"false"`
	Rater     string         `json:"rater,omitempty" doc:"The only rater that it labels as"`
	State     access.State   `json:"state"`
	Created   time.Time      `json:"created_at"`
	CreatedBy string         `json:"created_by" doc:"The key that created it"`
	Expires   *time.Time     `json:"expires_at,omitempty" doc:"Absent: it never expires"`
	Used      *time.Time     `json:"last_used_at,omitempty" doc:"To the minute; absent: never"`
	Revoked   *time.Time     `json:"revoked_at,omitempty" doc:"Absent: it was not"`
	RevokedBy string         `json:"revoked_by,omitempty" doc:"The key that revoked it"`
}

// NewAPIKey is the only answer that has a key's secret.
type NewAPIKey struct {
	APIKey
	Secret string `json:"key" doc:"What the holder sends, in Authorization: Bearer or X-API-Key. The server doesn't keep it and never shows it again"`
}

func apiKey(k access.Key, now time.Time) APIKey {
	moment := func(t time.Time) *time.Time {
		if t.IsZero() {
			return nil
		}
		return &t
	}
	return APIKey{
		ID: k.ID, Name: k.Name, Scopes: k.Scopes, Rater: k.Rater, State: k.StateAt(now), Created: k.Created,
		CreatedBy: k.CreatedBy, Expires: moment(k.Expires), Used: moment(k.Used), Revoked: moment(k.Revoked),
		RevokedBy: k.RevokedBy,
	}
}

type newKeyOutput struct {
	CacheControl string `header:"Cache-Control"`
	Body         NewAPIKey
}

type keyOutput struct{ Body APIKey }

type keysOutput struct {
	Body struct {
		Keys []APIKey `json:"keys" nullable:"false"`
	}
}

// registerKeys adds the routes, where a server keeps keys.
func (g *Gateway) registerKeys(api huma.API) {
	operation := func(method, path, id, summary string, errs ...int) huma.Operation {
		return huma.Operation{OperationID: id, Method: method, Path: path, Summary: summary, Tags: []string{"Keys"},
			Errors: append(errs, 503, 504)}
	}
	create := operation(http.MethodPost, "/v1/keys", "create-key", "Create an API key", 400, 408, 409, 415)
	create.Description = "The answer has the key, once. 409 where two valid keys have that name."
	create.DefaultStatus, create.MaxBodyBytes = http.StatusCreated, 16<<10
	huma.Register(api, create, func(ctx context.Context, in *struct{ Body KeyRequest }) (*newKeyOutput, error) {
		lifetime, err := access.ParseLifetime(in.Body.ExpiresIn)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		spec := access.Spec{Name: in.Body.Name, Scopes: in.Body.Scopes, Rater: in.Body.Rater, Lifetime: lifetime}
		key, secret, err := g.keys.Create(ctx, spec, access.From(ctx).By())
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		return &newKeyOutput{CacheControl: "no-store", Body: NewAPIKey{apiKey(key, key.Created), secret}}, nil
	})
	list := operation(http.MethodGet, "/v1/keys", "list-keys", "List API keys")
	list.Description = "Keys that expired or were revoked are listed for 30 days."
	huma.Register(api, list, func(ctx context.Context, _ *struct{}) (*keysOutput, error) {
		keys, now, err := g.keys.List(ctx)
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		out := &keysOutput{}
		out.Body.Keys = []APIKey{}
		for _, k := range keys {
			out.Body.Keys = append(out.Body.Keys, apiKey(k, now))
		}
		return out, nil
	})
	revoke := operation(http.MethodDelete, "/v1/keys/{key}", "revoke-key", "Revoke an API key", 404)
	revoke.Description = "This server refuses the key from then on, others that share its store within 5 seconds."
	revoke.DefaultStatus = http.StatusOK
	huma.Register(api, revoke, func(ctx context.Context, in *struct {
		ID string `path:"key" maxLength:"64" doc:"The key's ID"`
	}) (*keyOutput, error) {
		key, err := g.keys.Revoke(ctx, in.ID, access.From(ctx).By())
		if err != nil {
			return nil, problemOf(ctx, err)
		}
		return &keyOutput{Body: apiKey(key, key.Revoked)}, nil
	})
}

// errNotRun names the setting for routes that a server without a store lacks, and is
// nil for all others.
func (g *Gateway) errNotRun(path string) error {
	switch {
	case g.experiments == nil && (strings.HasPrefix(path, "/v1/experiments") || path == "/v1/feedback"):
		return errNoExperiments
	case g.keys == nil && (path == "/v1/keys" || strings.HasPrefix(path, "/v1/keys/")):
		return errNoKeys
	}
	return nil
}
