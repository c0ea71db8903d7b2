package gateway_test

import (
	"bytes"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

const app = "https://app.example"

// send makes a request as the browser of a page of app does.
func send(t *testing.T, method, url string, body []byte, headers map[string]string) reply {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, bytes.NewReader(body))
	must(t, err)
	for name, value := range headers {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	must(t, err)
	return readReply(t, resp)
}

// preflight asks whether a page of origin may send a request of method with
// headers, which browsers send sorted, in lower case and without spaces.
func preflight(t *testing.T, url, origin, method, headers string) reply {
	t.Helper()
	return send(t, http.MethodOptions, url, nil, map[string]string{
		"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers,
	})
}

func allows(a reply, origin string) bool {
	return a.header.Get("Access-Control-Allow-Origin") == origin
}

// TestPreflight: pages of the origins in the setting may send what the document
// describes, no other page may, and no page with credentials.
func TestPreflight(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.CORSOrigins = []string{app, "http://localhost:3000"} })
	url := r.serve().URL
	for _, test := range []struct {
		name, route, origin, method, headers string
		want                                 bool
	}{
		{"an image", "/v1/score", app, "POST", "content-type", true},
		{"no headers", "/v1/score", app, "POST", "", true},
		{"every header of scoring", "/v1/score?checkpoint=demo", app, "POST",
			"content-type,x-agiqa-blind,x-agiqa-prompt-sha256,x-agiqa-slices,x-agiqa-unit,x-request-id", true},
		{"an admin key", "/v1/checkpoints/demo", app, "DELETE", "authorization", true},
		{"a revision of an experiment", "/v1/experiments/x/stop", app, "POST", "authorization", true},
		{"a trace", "/v1/compare", app, "POST", "traceparent,tracestate", true},
		{"the other origin", "/v1/checkpoints", "http://localhost:3000", "GET", "x-request-id", true},
		{"a stranger", "/v1/score", "https://evil.example", "POST", "content-type", false},
		{"another scheme", "/v1/score", "http://app.example", "POST", "content-type", false},
		{"another port", "/v1/score", app + ":8443", "POST", "content-type", false},
		{"a longer name", "/v1/score", app + ".evil.example", "POST", "content-type", false},
		{"no origin at all", "/v1/score", "null", "POST", "content-type", false},
		{"another header", "/v1/score", app, "POST", "cookie", false},
		{"another method", "/v1/score", app, "TRACE", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := preflight(t, url+test.route, test.origin, test.method, test.headers)
			if got := allows(a, test.origin); got != test.want {
				t.Errorf("allowed: %v, want %v (%v)", got, test.want, a.header)
			}
			if a.status != http.StatusNoContent || len(a.body) != 0 || a.header.Get("Access-Control-Allow-Credentials") != "" {
				t.Errorf("status %d, %d bytes, header %v", a.status, len(a.body), a.header)
			}
			if !strings.Contains(strings.Join(a.header.Values("Vary"), ","), "Origin") {
				t.Errorf("Vary is %v: a cache would give this answer to another origin", a.header.Values("Vary"))
			}
			if test.want &&
				(a.header.Get("Access-Control-Max-Age") != "600" || a.header.Get("Access-Control-Allow-Methods") != test.method) {
				t.Errorf("header %v", a.header)
			}
		})
	}
	if n, problems := len(r.calls()), r.values("agiqa.problems"); n != 0 || len(problems) != 0 {
		t.Errorf("%d calls of Triton, problems %v", n, problems)
	}
}

// TestAnswersToOtherOrigins: a page may read an answer, a problem as well, with
// the headers that it needs.
func TestAnswersToOtherOrigins(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.CORSOrigins = []string{app} })
	url := r.serve().URL
	image := map[string]string{"Origin": app, "Content-Type": "image/png"}
	good := send(t, http.MethodPost, url+"/v1/score", testimages.PNG(8, 8), image)
	good.scores(t)
	bad := send(t, http.MethodPost, url+"/v1/score?model=x", testimages.PNG(8, 8), image)
	bad.wantProblem(t, quality.KindUnknownField)
	r.gateway.Drain()
	draining := send(t, http.MethodPost, url+"/v1/score", testimages.PNG(8, 8), image)
	draining.wantProblem(t, quality.KindDraining)
	for name, a := range map[string]reply{"a score": good, "a problem": bad, "a refusal": draining} {
		exposed := strings.Split(a.header.Get("Access-Control-Expose-Headers"), ", ")
		for _, want := range []string{"Retry-After", "X-Request-Id", "X-Trace-Id"} {
			if !slices.ContainsFunc(exposed, func(h string) bool { return strings.EqualFold(h, want) }) {
				t.Errorf("%s: exposed are %v, want %s among them", name, exposed, want)
			}
		}
		if !allows(a, app) || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: header %v", name, a.header)
		}
	}
	stranger := send(t, http.MethodPost, url+"/v1/preprocess", nil, map[string]string{"Origin": "https://evil.example"})
	if got := stranger.header.Get("Access-Control-Allow-Origin"); got != "" {
		t.Errorf("a stranger may read the answer: %q", got)
	}
}

// TestEveryOrigin: * is every origin, and still no credentials.
func TestEveryOrigin(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.CORSOrigins = []string{"*"} })
	url := r.serve().URL
	for _, origin := range []string{app, "https://evil.example", "null"} {
		a := preflight(t, url+"/v1/score", origin, "POST", "content-type")
		if !allows(a, "*") || a.header.Get("Access-Control-Allow-Credentials") != "" {
			t.Errorf("%s: header %v", origin, a.header)
		}
	}
}

// TestNoOriginByDefault: without the setting no answer says a word about it, and
// what a page of another origin sends is refused.
func TestNoOriginByDefault(t *testing.T) {
	r := newRig(t)
	url := r.serve().URL
	a := preflight(t, url+"/v1/score", app, "POST", "content-type")
	a.wantProblem(t, quality.KindMethodNotAllowed)
	b := send(t, http.MethodPost, url+"/v1/score", testimages.PNG(8, 8),
		map[string]string{"Origin": app, "Content-Type": "image/png"})
	b.wantProblem(t, quality.KindCrossOrigin)
	for _, answer := range []reply{a, b} {
		for name := range answer.header {
			if strings.HasPrefix(name, "Access-Control-") {
				t.Errorf("header %s: %v", name, answer.header[name])
			}
		}
	}
}
