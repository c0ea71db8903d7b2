package gateway

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/quality"
)

// permit says who may call a route.
type permit struct {
	scope access.Scope // that a key needs; "": the route is open to everybody
	open  bool         // no key is needed where [Config.OpenScoring] is set
}

var (
	public     = permit{}
	assessing  = permit{access.ScopeScore, true}
	reading    = permit{access.ScopeRead, true}
	inspecting = permit{access.ScopeRead, false}
	labelling  = permit{access.ScopeFeedback, false}
	trying     = permit{access.ScopeExperiment, false}
	changing   = permit{access.ScopeCheckpoint, false}
)

// permits is the one table of who may do what. [New] fails for a route that
// isn't in it. HEAD is as GET.
var permits = map[string]permit{
	"GET /":             public,
	"GET /favicon.ico":  public,
	"GET /docs":         public,
	"GET /docs/*asset":  public,
	"GET /openapi.json": public,
	"GET /openapi.yaml": public,
	"GET /healthz":      public,
	"GET /readyz":       public,

	"GET /metrics": reading,

	"POST /v1/score":      assessing,
	"POST /v1/compare":    assessing,
	"POST /v1/preprocess": assessing,

	"GET /v1/checkpoints":                   reading,
	"GET /v1/checkpoints/:name":             reading,
	"GET /v1/checkpoints/:name/diff/:other": reading,
	"POST /v1/checkpoints":                  changing,
	"POST /v1/checkpoints/:name/activate":   changing,
	"POST /v1/checkpoints/-/rollback":       changing,
	"DELETE /v1/checkpoints/:name":          changing,

	"GET /v1/experiments":                 inspecting,
	"GET /v1/experiments/:id":             inspecting,
	"GET /v1/experiments/:id/audits":      inspecting,
	"GET /v1/experiments/:id/report":      inspecting,
	"GET /v1/experiments/:id/report.html": inspecting,
	"POST /v1/experiments":                trying,
	"POST /v1/experiments/:id/start":      trying,
	"POST /v1/experiments/:id/pause":      trying,
	"POST /v1/experiments/:id/resume":     trying,
	"POST /v1/experiments/:id/stop":       trying,
	"POST /v1/experiments/:id/ramp":       trying,
	"POST /v1/experiments/:id/promote":    trying,
	"POST /v1/experiments/:id/rollback":   trying,

	"POST /v1/feedback": labelling,
}

// permitOf returns the permit of a route in gin's notation, and false where the
// table has none.
func permitOf(method, route string) (permit, bool) {
	if method == http.MethodHead {
		method = http.MethodGet
	}
	p, ok := permits[method+" "+route]
	return p, ok
}

// checkPermits reports the routes that the table doesn't have.
func checkPermits(routes gin.RoutesInfo) error {
	for _, r := range routes {
		if _, ok := permitOf(r.Method, r.Path); !ok {
			return fmt.Errorf("gateway: no permit says who may call %s %s", r.Method, r.Path)
		}
	}
	return nil
}

// authorize turns away who may not call the route, before a byte of the body is
// read. It stands behind crossOrigin, so that a page can read why.
func (g *Gateway) authorize(c *gin.Context) {
	p, _ := permitOf(c.Request.Method, c.FullPath())
	if p.scope == "" { // no route has none: see checkPermits
		return
	}
	ctx := c.Request.Context()
	err := idsOf(ctx).stranger
	if err == nil && !(p.open && g.cfg.OpenScoring) {
		err = g.require(ctx, p.scope)
	}
	if err == nil {
		return
	}
	abort(c, err)
}

// require returns an error unless the request carries a key with the scope. The
// routes' own scopes are in the table above; this is for what a handler does
// beyond them.
func (g *Gateway) require(ctx context.Context, scope access.Scope) error {
	p := access.From(ctx)
	switch {
	case p.May(scope):
		return nil
	case p.Authenticated():
		return quality.Errorf(quality.KindForbidden, "the API key %s lacks the scope %s", p.By(), scope)
	case g.cfg.AdminKey == "":
		return quality.Errorf(quality.KindUnauthenticated,
			"this request requires an API key with the scope %s, and the server has no admin-key to create one", scope)
	}
	return quality.Errorf(quality.KindUnauthenticated, "this request requires an API key with the scope %s; "+
		"send it as Authorization: Bearer KEY or X-API-Key: KEY", scope)
}

// KeyID names an admin key in logs: the beginning of its digest, from which
// nobody gets the key.
func KeyID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "key-" + hex.EncodeToString(sum[:4])
}

// KeyHeader carries an API key, as does Authorization: Bearer.
const KeyHeader = "X-API-Key"

// maxKeyBytes bounds a key in a header.
const maxKeyBytes = 256

// presentedKey returns the key that a request carries, and "" for none. Other
// schemes of Authorization are a proxy's business, not ours.
func presentedKey(h http.Header) (string, error) {
	var keys []string
	for _, value := range h.Values("Authorization") {
		scheme, key, _ := strings.Cut(value, " ")
		if strings.EqualFold(scheme, "Bearer") {
			keys = append(keys, strings.TrimLeft(key, " "))
		}
	}
	keys = append(keys, h.Values(KeyHeader)...)
	keys = slices.DeleteFunc(keys, func(key string) bool { return key == "" })
	slices.Sort(keys)
	switch keys = slices.Compact(keys); {
	case len(keys) == 0:
		return "", nil
	case len(keys) > 1:
		return "", quality.Errorf(quality.KindUnauthenticated, "the request carries %d different API keys", len(keys))
	case len(keys[0]) > maxKeyBytes:
		return "", quality.Errorf(quality.KindUnauthenticated, "the API key is longer than %d bytes", maxKeyBytes)
	}
	return keys[0], nil
}

// errUnknownKey doesn't say whether there is a key of that name.
var errUnknownKey = quality.Errorf(quality.KindUnauthenticated, "the API key is not valid")

// authenticate finds out whose key a request carries. Without one it returns p
// as it is.
func (g *Gateway) authenticate(r *http.Request, p access.Principal) (access.Principal, error) {
	key, err := presentedKey(r.Header)
	if key == "" || err != nil {
		return p, err
	}
	got, want := sha256.Sum256([]byte(key)), sha256.Sum256([]byte(g.cfg.AdminKey))
	if subtle.ConstantTimeCompare(got[:], want[:]) == 1 && g.cfg.AdminKey != "" {
		p.KeyID, p.Scopes = KeyID(key), []access.Scope{access.ScopeAdmin}
		p.Client = "key:" + p.KeyID
		return p, nil
	}
	return p, errUnknownKey
}
