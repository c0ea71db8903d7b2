package gateway_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// pathParameter is a parameter of a route in gin's notation.
var pathParameter = regexp.MustCompile(`[:*]\w+`)

// TestEveryRouteHasAPermit: the table has each route of the router and no
// other, and the router keeps to it.
func TestEveryRouteHasAPermit(t *testing.T) {
	for _, open := range []bool{false, true} {
		r := newWholeRig(t, func(p *plan) { p.gateway.OpenScoring = open })
		permits := gateway.Permits()
		seen := map[string]bool{}
		for _, route := range r.gateway.Routes() {
			method, path, _ := strings.Cut(route, " ")
			name := strings.Replace(route, http.MethodHead+" ", http.MethodGet+" ", 1)
			permit, ok := permits[name]
			if !ok {
				t.Errorf("%s has no permit", route)
				continue
			}
			seen[name] = true
			target := pathParameter.ReplaceAllString(path, "x")
			got := r.ask(method, target, nil)
			anonymous := permit.Scope == "" || permit.Open && open
			if refused := got.status == http.StatusUnauthorized; refused == anonymous {
				t.Errorf("%s, open %v: status %d without a key; scope %q", route, open, got.status, permit.Scope)
			}
			if !anonymous && method != http.MethodHead {
				if p := got.wantProblem(t, quality.KindUnauthenticated); !strings.Contains(p.Detail, string(permit.Scope)) {
					t.Errorf("%s: %q does not name the scope %s", route, p.Detail, permit.Scope)
				}
			}
			if got := r.ask(method, target, nil, asAdmin); got.status == http.StatusUnauthorized ||
				got.status == http.StatusForbidden {
				t.Errorf("%s: status %d with the admin key: %s", route, got.status, got.body)
			}
			if got := r.ask(method, target, nil, header(gateway.KeyHeader, "agiqa_x_y")); permit.Scope != "" &&
				got.status != http.StatusUnauthorized || permit.Scope == "" && got.status == http.StatusUnauthorized {
				t.Errorf("%s: status %d with an unknown key: %s", route, got.status, got.body)
			}
		}
		for name := range permits {
			if !seen[name] {
				t.Errorf("%s is in the table and not in the router", name)
			}
		}
		if len(seen) < 30 {
			t.Errorf("only %d routes", len(seen))
		}
	}
}

// TestEitherHeaderCarriesTheKey: an API key may come in either header, or the same
// one in both, and a proxy's own authorization is none of ours.
func TestEitherHeaderCarriesTheKey(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.OpenScoring = false })
	for name, edits := range map[string][]edit{
		"bearer":               {asAdmin},
		"bearer in lower case": {header("authorization", "bearer  "+adminKey)},
		"the other header":     {header(gateway.KeyHeader, adminKey)},
		"both":                 {asAdmin, header(gateway.KeyHeader, adminKey)},
		"beside a proxy's own": {header("Authorization", "Basic eA=="), header(gateway.KeyHeader, adminKey)},
	} {
		if got := r.post("/v1/score", testimages.PNG(8, 8), "image/png", edits...); got.status != http.StatusOK {
			t.Errorf("%s: status %d: %s", name, got.status, got.body)
		}
	}
	r.postUnread("/v1/score", 10).wantProblem(t, quality.KindUnauthenticated)
	r.postUnread("/v1/score", 10, header("Authorization", "Basic eA==")).wantProblem(t, quality.KindUnauthenticated)
}
