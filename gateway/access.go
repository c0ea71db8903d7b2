package gateway

import (
	"context"
	"fmt"
	"net/http"

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
	public        = permit{}
	assessing     = permit{access.ScopeScore, true}
	reading       = permit{access.ScopeRead, true}
	inspecting    = permit{access.ScopeRead, false}
	labelling     = permit{access.ScopeFeedback, false}
	trying        = permit{access.ScopeExperiment, false}
	changing      = permit{access.ScopeCheckpoint, false}
	administering = permit{access.ScopeAdmin, false}
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

	"POST /v1/challenge": public,

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

	"GET /v1/encoder": inspecting,
	"PUT /v1/encoder": changing,

	"GET /v1/experiments":                 inspecting,
	"GET /v1/experiments/:id":             inspecting,
	"GET /v1/experiments/:id/audits":      inspecting,
	"GET /v1/experiments/:id/report":      inspecting,
	"GET /v1/experiments/:id/report.html": inspecting,
	"POST /v1/experiments":                trying,
	"PUT /v1/experiments/:id":             trying,
	"DELETE /v1/experiments/:id":          trying,
	"POST /v1/experiments/:id/clone":      trying,
	"POST /v1/experiments/:id/archive":    trying,
	"POST /v1/experiments/:id/restore":    trying,
	"POST /v1/experiments/:id/start":      trying,
	"POST /v1/experiments/:id/pause":      trying,
	"POST /v1/experiments/:id/resume":     trying,
	"POST /v1/experiments/:id/stop":       trying,
	"POST /v1/experiments/:id/ramp":       trying,
	"POST /v1/experiments/:id/promote":    trying,
	"POST /v1/experiments/:id/rollback":   trying,

	"POST /v1/feedback":              labelling,
	"POST /v1/experiments/:id/tasks": labelling,

	"POST /v1/keys":        administering,
	"GET /v1/keys":         administering,
	"DELETE /v1/keys/:key": administering,
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
	g.guard.count(ctx, err)
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
	case g.cfg.AdminKey == "" && g.keys == nil:
		return quality.Errorf(quality.KindUnauthenticated, "this request requires an API key with the scope %s, and the "+
			"server has none: set admin-key on the server", scope)
	}
	return quality.Errorf(quality.KindUnauthenticated, "this request requires an API key with the scope %s; "+
		"send it as Authorization: Bearer KEY or X-API-Key: KEY", scope)
}
