package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// pathParameter is a parameter of a route in gin's notation.
var pathParameter = regexp.MustCompile(`[:*]\w+`)

// newKeys returns the keys of a store.
func newKeys(t *testing.T, store access.Store) *access.Keys {
	t.Helper()
	k := access.NewKeys(store, time.Now, slog.New(slog.DiscardHandler))
	t.Cleanup(k.Close)
	return k
}

// newKeyRig is a rig that keeps keys, and asks for one to score.
func newKeyRig(t *testing.T, edits ...func(*plan)) *rig {
	t.Helper()
	return newRig(t, append([]func(*plan){func(p *plan) {
		p.keys, p.gateway.OpenScoring = newKeys(t, storetest.Open(t, time.Now)), false
	}}, edits...)...)
}

// createKey creates a key and returns how to send it.
func (r *rig) createKey(name string, scopes ...access.Scope) (gateway.NewAPIKey, edit) {
	r.t.Helper()
	return r.created(gateway.KeyRequest{Name: name, Scopes: scopes})
}

func (r *rig) created(request gateway.KeyRequest) (gateway.NewAPIKey, edit) {
	r.t.Helper()
	a := r.postJSON("/v1/keys", request, asAdmin)
	var key gateway.NewAPIKey
	if err := json.Unmarshal(a.body, &key); err != nil || a.status != http.StatusCreated {
		r.t.Fatalf("status %d, %v: %s", a.status, err, a.body)
	}
	return key, header(gateway.KeyHeader, key.Secret)
}

// TestEveryRouteHasAPermit: the table has each route of the router and no
// other, and the router keeps to it: without a key, with one that isn't valid,
// with one for everything else, and with the right one.
func TestEveryRouteHasAPermit(t *testing.T) {
	for _, open := range []bool{false, true} {
		r := newWholeRig(t, func(p *plan) { p.gateway.OpenScoring = open })
		enough, others := map[access.Scope]edit{}, map[access.Scope]edit{}
		for _, scope := range access.Scopes() {
			_, enough[scope] = r.createKey("for-"+string(scope), scope)
			_, others[scope] = r.createKey("not-"+string(scope),
				slices.DeleteFunc(access.Scopes(), func(s access.Scope) bool { return s == scope || s == access.ScopeAdmin })...)
		}
		permits := gateway.Permits()
		seen := map[string]bool{}
		for n, route := range r.gateway.Routes() {
			method, path, _ := strings.Cut(route, " ")
			name := strings.Replace(route, http.MethodHead+" ", http.MethodGet+" ", 1)
			permit, ok := permits[name]
			if !ok {
				t.Errorf("%s has no permit", route)
				continue
			}
			seen[name] = true
			target := pathParameter.ReplaceAllString(path, "x")
			want := func(who string, edits []edit, refused int) {
				t.Helper()
				got := r.ask(method, target, nil, edits...)
				if is := got.status == http.StatusUnauthorized || got.status == http.StatusForbidden; is != (refused != 0) ||
					is && got.status != refused {
					t.Errorf("%s, scoring open %v, %s: status %d, want %d", route, open, who, got.status, refused)
				}
				if refused != 0 && method != http.MethodHead && !bytes.Contains(got.body, []byte(`"detail"`)) {
					t.Errorf("%s, %s: %s", route, who, got.body)
				}
			}
			missing, lacking, invalid := 0, 0, 0
			if permit.Scope != "" {
				invalid = http.StatusUnauthorized
				if !permit.Open || !open {
					missing, lacking = http.StatusUnauthorized, http.StatusForbidden
				}
				want("a key with its scope", []edit{enough[permit.Scope]}, 0)
				want("a key with all other scopes", []edit{others[permit.Scope]}, lacking)
			}
			want("no key", nil, missing)
			want("the admin key", []edit{asAdmin}, 0)
			want("a key with the scope admin", []edit{enough[access.ScopeAdmin]}, 0)
			// A client that sends more of them is another test's.
			want("an invalid key", []edit{header(gateway.KeyHeader, "agiqa_x_y"),
				func(req *http.Request) { req.RemoteAddr = fmt.Sprintf("192.0.2.%d:80", n) }}, invalid)
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

// TestRefusalsAreExplained: what the client is told, and what is counted.
func TestRefusalsAreExplained(t *testing.T) {
	var ago atomic.Int64
	ago.Store(int64(time.Hour))
	store := storetest.Open(t, func() time.Time { return time.Now().Add(-time.Duration(ago.Load())) })
	_, expired, err := newKeys(t, store).Create(t.Context(),
		access.Spec{Name: "old", Scopes: []access.Scope{access.ScopeScore}, Lifetime: time.Minute}, "test")
	must(t, err)
	ago.Store(0)
	r := newKeyRig(t, func(p *plan) { p.keys = newKeys(t, store) })
	scorer, asScorer := r.createKey("scorer", access.ScopeScore)
	gone, asGone := r.createKey("gone", access.ScopeScore)
	if a := r.ask(http.MethodDelete, "/v1/keys/"+gone.ID, nil, asAdmin); a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	send := func(key string) edit { return header("Authorization", "Bearer "+key) }
	for _, test := range []struct {
		reason, detail string
		kind           quality.Kind
		with           edit
	}{
		{"missing", "an API key with the scope checkpoint", quality.KindUnauthenticated, header("X-Nothing", "x")},
		{"scope", "scorer (" + scorer.ID + ") lacks the scope checkpoint", quality.KindForbidden, asScorer},
		{"malformed", "not of the form agiqa_ID_SECRET", quality.KindUnauthenticated, send("secret")},
		{"malformed", "longer than 256 bytes", quality.KindUnauthenticated, send(strings.Repeat("a", 60_000))},
		{"secret", "the API key is not valid", quality.KindUnauthenticated,
			send(scorer.Secret[:len(scorer.Secret)-26] + strings.Repeat("A", 26))},
		{"unknown", "the API key is not valid", quality.KindUnauthenticated,
			send("agiqa_" + strings.Repeat("a", 12) + "_" + strings.Repeat("A", 26))},
		{"revoked", "gone (" + gone.ID + ") was revoked", quality.KindUnauthenticated, asGone},
		{"expired", "expired at 20", quality.KindUnauthenticated, send(expired)},
	} {
		before := r.values("agiqa.access.refusals")["reason="+test.reason]
		a := r.ask(http.MethodPost, "/v1/checkpoints/-/rollback", nil, test.with)
		if p := a.wantProblem(t, test.kind); !strings.Contains(p.Detail, test.detail) {
			t.Errorf("%s: detail %q, want %q in it", test.reason, p.Detail, test.detail)
		}
		if a.header.Get("WWW-Authenticate") != "" != (a.status == http.StatusUnauthorized) {
			t.Errorf("%s: status %d, WWW-Authenticate %q", test.reason, a.status, a.header.Get("WWW-Authenticate"))
		}
		if n := r.values("agiqa.access.refusals")["reason="+test.reason]; n != before+1 {
			t.Errorf("%s was counted %d times", test.reason, n-before)
		}
	}
	for _, line := range r.logs.lines(t) {
		if text := fmt.Sprint(line); strings.Contains(text, scorer.Secret) || strings.Contains(text, expired) {
			t.Errorf("a key is in the log: %s", text)
		}
	}
}

// TestKeyRoutes: a key from its creation to its end, over HTTP.
func TestKeyRoutes(t *testing.T) {
	r := newKeyRig(t)
	image := testimages.PNG(8, 8)
	r.post("/v1/score", image, "image/png").wantProblem(t, quality.KindUnauthenticated)
	old, asOld := r.created(gateway.KeyRequest{Name: "shop", Scopes: []access.Scope{access.ScopeScore}, ExpiresIn: "90d"})
	if old.State != access.Valid || old.Expires == nil || old.CreatedBy != gateway.KeyID(adminKey) ||
		time.Until(*old.Expires) > 90*24*time.Hour || time.Until(*old.Expires) < 89*24*time.Hour {
		t.Errorf("created %+v", old)
	}
	r.post("/v1/score", image, "image/png", asOld).scores(t)
	fresh, asFresh := r.createKey("shop", access.ScopeScore, access.ScopeAdmin)
	r.post("/v1/score", image, "image/png", asFresh).scores(t)
	r.postJSON("/v1/keys", gateway.KeyRequest{Name: "shop", Scopes: []access.Scope{access.ScopeScore}}, asFresh).
		wantProblem(t, quality.KindConflict) // a third one
	if a := r.ask(http.MethodDelete, "/v1/keys/"+old.ID, nil, asFresh); a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	r.post("/v1/score", image, "image/png", asOld).wantProblem(t, quality.KindUnauthenticated)
	r.post("/v1/score", image, "image/png", asFresh).scores(t)
	a := r.ask(http.MethodGet, "/v1/keys", nil, asFresh)
	var list struct{ Keys []gateway.APIKey }
	must(t, json.Unmarshal(a.body, &list))
	if len(list.Keys) != 2 || list.Keys[0].ID != old.ID || list.Keys[0].State != access.Revoked ||
		list.Keys[0].RevokedBy != "shop ("+fresh.ID+")" || list.Keys[1].State != access.Valid {
		t.Errorf("keys %+v", list.Keys)
	}
	for _, key := range []gateway.NewAPIKey{old, fresh} {
		if secret := key.Secret[strings.LastIndexByte(key.Secret, '_')+1:]; bytes.Contains(a.body, []byte(secret)) {
			t.Errorf("the list has the secret of %s", key.ID)
		}
	}
	r.ask(http.MethodDelete, "/v1/keys/none", nil, asAdmin).wantProblem(t, quality.KindNotFound)
	for _, body := range []string{
		`{}`, `{"name":"a"}`, `{"name":"a","scopes":[]}`, `{"name":"a","scopes":["root"]}`,
		`{"name":"A b","scopes":["score"]}`,
		`{"name":"a","scopes":["score"],"expires_in":"soon"}`, `{"name":"a","scopes":["score"],"expires_in":"1s"}`,
		`{"name":"a","scopes":["score"],"rater":"r"}`, `{"name":"a","scopes":["score"],"secret":"mine"}`,
	} {
		if a := r.post("/v1/keys", []byte(body), "application/json", asAdmin); a.status != http.StatusBadRequest {
			t.Errorf("%s: status %d: %s", body, a.status, a.body)
		}
	}
}

// TestServerWithoutKeys: it has no routes for them, and whoever sends one learns
// which setting says so.
func TestServerWithoutKeys(t *testing.T) {
	r := newRig(t)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		if p := r.ask(method, "/v1/keys", nil, asAdmin).wantProblem(t, quality.KindNotFound); !strings.Contains(p.Detail,
			"experiment-store") {
			t.Errorf("%s: %q does not name the setting", method, p.Detail)
		}
	}
	key := "agiqa_" + strings.Repeat("a", 12) + "_" + strings.Repeat("A", 26)
	if p := r.post("/v1/score", testimages.PNG(8, 8), "image/png", header(gateway.KeyHeader, key)).
		wantProblem(t, quality.KindUnauthenticated); !strings.Contains(p.Detail, "experiment-store") {
		t.Errorf("%q does not name the setting", p.Detail)
	}
}

// TestFailedAttemptsAreThrottled: whoever guesses is told to wait, though the guess
// may be right, and nobody else suffers: neither other clients, nor keys that
// can't be guessed, nor an administrator who was there before.
func TestFailedAttemptsAreThrottled(t *testing.T) {
	from := func(address string) edit { return func(r *http.Request) { r.RemoteAddr = address + ":1" } }
	guesser, office := from("198.51.100.7"), from("198.51.100.8")
	r := newKeyRig(t)
	_, asScorer := r.createKey("scorer", access.ScopeScore)
	list := func(edits ...edit) reply { return r.ask(http.MethodGet, "/v1/keys", nil, edits...) }
	if a := list(asAdmin, office); a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	for _, where := range []edit{guesser, office} {
		n := 0
		for a := (reply{}); a.status != http.StatusTooManyRequests; n++ {
			if a = list(where, header("Authorization", fmt.Sprintf("Bearer guess-%d", n))); n > 100 {
				t.Fatalf("status %d after %d guesses", a.status, n)
			}
		}
		if n < 11 {
			t.Errorf("throttled at guess %d", n)
		}
		for _, path := range []string{"/v1/keys", "/v1/checkpoints", "/v1/score"} {
			p := r.ask(http.MethodGet, "/v1/checkpoints", nil, where, header(gateway.KeyHeader, "guess")).
				wantProblem(t, quality.KindRateLimited)
			if p.RetryAfterMS < 1 || p.RetryAfterMS > 6000 {
				t.Errorf("%s: retry after %d ms", path, p.RetryAfterMS)
			}
		}
		r.post("/v1/score", testimages.PNG(8, 8), "image/png", asScorer, where).scores(t)
		if a := r.ask(http.MethodGet, "/healthz", nil, where, header(gateway.KeyHeader, "guess")); a.status != http.StatusOK {
			t.Errorf("/healthz: status %d", a.status)
		}
	}
	list(asAdmin, guesser).wantProblem(t, quality.KindRateLimited) // a right guess
	if a := list(asAdmin, office); a.status != http.StatusOK {
		t.Errorf("an administrator beside a guesser: status %d: %s", a.status, a.body)
	}
	if a := list(asAdmin, from("198.51.100.9")); a.status != http.StatusOK {
		t.Errorf("another client: status %d: %s", a.status, a.body)
	}
	if n := r.values("agiqa.access.refusals")["reason=throttled"]; n < 9 {
		t.Errorf("%d were counted", n)
	}
}

// TestUnitAPIKeyIsVerified: an experiment by api_key assigns the holder of a key,
// not whatever a header says.
func TestUnitAPIKeyIsVerified(t *testing.T) {
	x := &callers{}
	r := newKeyRig(t, func(p *plan) {
		p.gateway.OpenScoring = true
		p.wrap = func(s gateway.Scorer) gateway.Scorer { x.Scorer = s; return x }
	})
	key, asScorer := r.createKey("scorer", access.ScopeScore)
	for _, edits := range [][]edit{{asScorer}, nil, {header("Authorization", "Basic invented")}} {
		r.post("/v1/score", testimages.PNG(8, 8), "image/png", edits...).scores(t)
	}
	if want := []string{key.ID, "", ""}; !slices.Equal(x.keys, want) {
		t.Errorf("units %q, want %q", x.keys, want)
	}
}

// callers is a use case that notes whose key requests came with.
type callers struct {
	gateway.Scorer
	keys []string
}

func (c *callers) Score(ctx context.Context, req scoring.Request) (scoring.Response, error) {
	c.keys = append(c.keys, req.Caller.APIKey)
	return c.Scorer.Score(ctx, req)
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

// TestPageAsksForAKey runs the page's script in Node.js on real answers: without a
// key, and then with one.
func TestPageAsksForAKey(t *testing.T) {
	if testing.Short() {
		t.Skip("needs Node.js; not run with -short")
	}
	if _, err := exec.LookPath("node"); err != nil {
		t.Fatal("node is not on PATH: install Node.js (make deps), or run the tests with -short to leave this out")
	}
	r := newKeyRig(t)
	key, asScorer := r.createKey("scorer", access.ScopeScore)
	const target = "/v1/score?include=views"
	refused := r.post(target, testimages.PNG(64, 64), "image/png")
	refused.wantProblem(t, quality.KindUnauthenticated)
	scored := r.post(target, testimages.PNG(64, 64), "image/png", asScorer)
	scored.scores(t)
	draw := func(args ...string) (drawn struct {
		Keys   []string
		Wanted bool
		Text   string
	}) {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), "node", append([]string{"testdata/page.mjs", "page.html"}, args...)...).
			Output()
		must(t, err)
		must(t, json.Unmarshal(out, &drawn))
		return drawn
	}
	if got := draw(string(scored.body)); got.Wanted || !slices.Equal(got.Keys, []string{""}) {
		t.Errorf("a server that needs no key: %+v", got)
	}
	got := draw(string(refused.body), key.Secret, string(scored.body))
	if !got.Wanted || !slices.Equal(got.Keys, []string{"", key.Secret}) || strings.Contains(got.Text, "Authentication") ||
		!strings.Contains(got.Text, "by "+first) {
		t.Errorf("a server that needs a key: %+v", got)
	}
}
