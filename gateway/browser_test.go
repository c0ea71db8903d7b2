package gateway_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/testimages"
	"github.com/agiqa/agiqa/quality"
)

// host puts a name into a request's Host header.
func host(name string) edit { return func(r *http.Request) { r.Host = name } }

// withoutType removes the Content-Type, as a page's fetch of a Blob without type does.
func withoutType(r *http.Request) { r.Header.Del("Content-Type") }

// browserWrites are ways that a web page, or no web page, may send a request.
var browserWrites = []struct {
	name    string
	headers []string // pairs
	host    string   // "": this machine
	want    quality.Kind
}{
	{name: "no browser"},
	{name: "the server's own page", headers: []string{"Origin", "http://localhost:8080", "Sec-Fetch-Site", "same-origin"}},
	{name: "an older browser's own page", headers: []string{"Origin", "http://localhost:8080"}},
	{name: "a bookmark", headers: []string{"Sec-Fetch-Site", "none"}},
	{name: "a page that may call", headers: []string{"Origin", app, "Sec-Fetch-Site", "cross-site"}},
	{name: "another page", headers: []string{"Origin", "http://evil.example", "Sec-Fetch-Site", "cross-site"},
		want: quality.KindCrossOrigin},
	{name: "another page of an older browser", headers: []string{"Origin", "http://evil.example"},
		want: quality.KindCrossOrigin},
	{name: "another page that hides its origin", headers: []string{"Sec-Fetch-Site", "cross-site"},
		want: quality.KindCrossOrigin},
	{name: "a sandboxed page", headers: []string{"Origin", "null"}, want: quality.KindCrossOrigin},
	{name: "another server of this machine", headers: []string{"Origin", "http://localhost:3000", "Sec-Fetch-Site",
		"same-site"}, want: quality.KindCrossOrigin},
	{name: "that server, from an older browser", headers: []string{"Origin", "http://localhost:3000"},
		want: quality.KindCrossOrigin},
	{name: "a page that may call, by another scheme", headers: []string{"Origin", "http://app.example"},
		want: quality.KindCrossOrigin},
	{name: "rebound DNS", host: "evil.example:8080", headers: []string{"Origin", "http://evil.example:8080",
		"Sec-Fetch-Site", "same-origin"}, want: quality.KindMisdirected},
	{name: "rebound DNS, without Origin", host: "evil.example", want: quality.KindMisdirected},
	{name: "a proxy's name", host: "api.example"},
	{name: "a page beside the API", host: "app.example", headers: []string{"Origin", app, "Sec-Fetch-Site",
		"same-origin"}},
}

// TestBrowserWrites holds every route that changes or costs something against every
// way to send a request, with a key that may do everything. The routes are the
// router's, so a new one is held to the same.
func TestBrowserWrites(t *testing.T) {
	r := newWholeRig(t, func(p *plan) {
		p.gateway.Loopback, p.gateway.AllowedHosts, p.gateway.CORSOrigins = true, []string{"api.example"}, []string{app}
	})
	writes := 0
	for _, route := range r.gateway.Routes() {
		method, path, _ := strings.Cut(route, " ")
		safe := method == http.MethodGet || method == http.MethodHead
		if !safe {
			writes++
		}
		for _, test := range browserWrites {
			if safe && test.want == quality.KindCrossOrigin {
				continue
			}
			edits := []edit{asAdmin, host("localhost:8080"), header("Content-Type", "application/json")}
			if test.host != "" {
				edits = append(edits, host(test.host))
			}
			for i := 0; i < len(test.headers); i += 2 {
				edits = append(edits, header(test.headers[i], test.headers[i+1]))
			}
			got := r.ask(method, pathParameter.ReplaceAllString(path, "x"), []byte("{}"), edits...)
			checkBrowserAnswer(t, route+", "+test.name, method, got, test.want)
		}
	}
	if writes < 16 {
		t.Errorf("only %d routes that write", writes)
	}
	for _, method := range []string{http.MethodPost, http.MethodOptions, "PURGE"} { // where there is no route
		got := r.ask(method, "/v1/nothing", nil, host("evil.example"))
		checkBrowserAnswer(t, method+" nowhere", method, got, quality.KindMisdirected)
	}
}

func checkBrowserAnswer(t *testing.T, what, method string, got reply, want quality.Kind) {
	t.Helper()
	refused := got.status == http.StatusMisdirectedRequest || got.status == http.StatusForbidden
	switch {
	case want == "" && refused:
		t.Errorf("%s: status %d: %s", what, got.status, got.body)
	case want != "" && method == http.MethodHead && !refused:
		t.Errorf("%s: status %d, want %s", what, got.status, want)
	case want != "" && method != http.MethodHead:
		p := got.wantProblem(t, want)
		setting := map[quality.Kind]string{quality.KindMisdirected: "allowed-hosts", quality.KindCrossOrigin: "cors-origins"}
		if !strings.Contains(p.Detail, setting[want]) {
			t.Errorf("%s: %q does not name the setting %s", what, p.Detail, setting[want])
		}
	}
}

// TestBrowserSettings: what switches the checks off, and what leaves them on.
func TestBrowserSettings(t *testing.T) {
	evil := []edit{host("evil.example"), header("Origin", "http://evil.example"), header("Content-Type", "image/png")}
	other := []edit{host("localhost"), header("Origin", "http://evil.example"), header("Content-Type", "image/png")}
	for _, test := range []struct {
		name          string
		set           func(*gateway.Config)
		rebound, foul quality.Kind // what a rebound name and another origin meet; "": nothing
	}{
		{"an address that others reach", func(*gateway.Config) {}, "", quality.KindCrossOrigin},
		{"loopback", func(c *gateway.Config) { c.Loopback = true }, quality.KindMisdirected, quality.KindCrossOrigin},
		{"a name", func(c *gateway.Config) { c.AllowedHosts = []string{"a"} }, quality.KindMisdirected,
			quality.KindCrossOrigin},
		{"every name", func(c *gateway.Config) { c.Loopback, c.AllowedHosts = true, []string{"*"} }, "",
			quality.KindCrossOrigin},
		{"an origin, on another address", func(c *gateway.Config) { c.CORSOrigins = []string{app} }, "",
			quality.KindCrossOrigin},
		{"every origin", func(c *gateway.Config) { c.Loopback, c.CORSOrigins = true, []string{"*"} }, "", ""},
	} {
		r := newRig(t, func(p *plan) { test.set(&p.gateway) })
		for what, ask := range map[string]struct {
			edits []edit
			want  quality.Kind
		}{"a rebound name": {evil, test.rebound}, "another origin": {other, test.foul}} {
			got := r.ask(http.MethodPost, "/v1/score", testimages.PNG(8, 8), ask.edits...)
			if ask.want != "" {
				got.wantProblem(t, ask.want)
			} else if got.status != http.StatusOK {
				t.Errorf("%s, %s: status %d: %s", test.name, what, got.status, got.body)
			}
		}
	}
}

// TestOperationsOnLoopback: profiles show memory, and no page may read them under a
// name of its own. On another address, Prometheus may know the server by any name.
func TestOperationsOnLoopback(t *testing.T) {
	r := newRig(t, func(p *plan) { p.gateway.AllowedHosts = []string{"api.example"} })
	for _, test := range []struct {
		host     string
		loopback bool
		refused  bool
	}{
		{"evil.example", true, true}, {"localhost:9090", true, false}, {"api.example", true, false},
		{"gateway:9090", false, false},
	} {
		for _, path := range []string{"/metrics", "/healthz", "/debug/pprof/heap", "/nothing"} {
			req := httptest.NewRequest(http.MethodGet, path, nil)
			req.Host = test.host
			w := httptest.NewRecorder()
			r.gateway.Operations(http.NewServeMux(), test.loopback).ServeHTTP(w, req)
			if refused := w.Code == http.StatusMisdirectedRequest; refused != test.refused {
				t.Errorf("%s of %s, loopback %v: status %d", path, test.host, test.loopback, w.Code)
			}
		}
	}
}

// TestNoBodyWithoutItsType: a body's type is never guessed, but for the bytes of an
// image, on any route: a page may send a body without type to another site without
// asking first.
func TestNoBodyWithoutItsType(t *testing.T) {
	r := newWholeRig(t)
	raw, err := r.gateway.OpenAPI()
	must(t, err)
	var document object
	must(t, json.Unmarshal(raw, &document))
	bodies := 0
	for path, item := range document["paths"].(object) {
		for method, op := range item.(object) {
			body, has := op.(object)["requestBody"].(object)
			if !has {
				continue
			}
			bodies++
			documented := body["content"].(object)
			target := pathOf(path, op.(object))
			for _, contentType := range []string{"", "x", "text/plain", "application/x-www-form-urlencoded", "text/plain; a=b",
				"application/json-seq", "application/xml", "application/yaml", "application/json"} {
				if documented[contentType] != nil {
					continue
				}
				edits := []edit{asAdmin, header("Content-Type", contentType)}
				if contentType == "" {
					edits = append(edits, withoutType)
				}
				for _, content := range []string{"{}", "id: x", "--b\r\n"} {
					got := r.ask(strings.ToUpper(method), target, []byte(content), edits...)
					want := quality.KindUnsupportedMediaType
					if contentType == "" && documented["application/octet-stream"] != nil && content == "id: x" {
						want = quality.KindUnsupportedImageFormat // taken for an image, which it isn't
					}
					got.wantProblem(t, want)
				}
			}
		}
	}
	if bodies < 7 {
		t.Errorf("only %d operations with a body", bodies)
	}
	r.ask(http.MethodPost, "/v1/score", testimages.PNG(8, 8), withoutType).scores(t)
}

// TestAnswersAreKeptFromOthers: no answer of any route may be kept, shown within
// another page or taken for something that runs, whatever its status. Static files
// may be kept.
func TestAnswersAreKeptFromOthers(t *testing.T) {
	r := newWholeRig(t)
	static := map[string]string{"/favicon.ico": "public, max-age=86400", "/docs/*asset": "no-cache"}
	check := func(what string, got reply, kept string) {
		t.Helper()
		want := map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff",
			"X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"}
		if kept != "" && got.status < 300 {
			want["Cache-Control"] = kept
		}
		for name, value := range want {
			if values := got.header.Values(name); !slices.Equal(values, []string{value}) {
				t.Errorf("%s, status %d: %s is %q, want %q", what, got.status, name, values, value)
			}
		}
		policy := got.header.Get("Content-Security-Policy")
		if !strings.HasPrefix(policy, "default-src 'none'; ") || !strings.Contains(policy, "frame-ancestors 'none'") ||
			strings.Contains(policy, "unsafe") || strings.Contains(policy, "http") || strings.Contains(policy, "*") {
			t.Errorf("%s, status %d: Content-Security-Policy %q", what, got.status, policy)
		}
	}
	for _, route := range r.gateway.Routes() {
		method, path, _ := strings.Cut(route, " ")
		for _, name := range []string{"x", "swagger-ui.css"} {
			target := pathParameter.ReplaceAllString(path, name)
			for what, edits := range map[string][]edit{"": {asAdmin}, " without a key": nil} {
				check(route+what, r.ask(method, target, []byte("{}"), edits...), static[path])
			}
			check("OPTIONS "+path, r.ask(http.MethodOptions, target, nil), "")
		}
	}
	check("a score", r.post("/v1/score", testimages.PNG(8, 8), "image/png"), "")
	check("nowhere", r.ask(http.MethodGet, "/nothing", nil), "")
	check("a preflight", r.ask(http.MethodOptions, "/v1/score", nil, header("Origin", app),
		header("Access-Control-Request-Method", "POST")), "")
}

// TestPagesRunOnlyTheirOwn: the policy of each page allows the scripts and styles
// that are in it by their hashes, and nothing in it needs more.
func TestPagesRunOnlyTheirOwn(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/", "/docs", "/docs/"} {
		answer := r.ask(http.MethodGet, path, nil)
		policy := answer.header.Get("Content-Security-Policy")
		root, err := html.Parse(bytes.NewReader(answer.body))
		must(t, err)
		inline := 0
		for n := range root.Descendants() {
			for _, a := range n.Attr {
				if a.Key == "style" || strings.HasPrefix(a.Key, "on") || strings.HasPrefix(a.Val, "javascript:") {
					t.Errorf("%s: <%s %s=%q> needs more than the policy allows", path, n.Data, a.Key, a.Val)
				}
			}
			if (n.Data == "script" || n.Data == "style") && n.FirstChild != nil && n.Type == html.ElementNode {
				inline++
				sum := sha256.Sum256([]byte(n.FirstChild.Data))
				if hash := "'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'"; !strings.Contains(policy, hash) {
					t.Errorf("%s: the policy forbids an inline <%s>: %q lacks %s", path, n.Data, policy, hash)
				}
			}
		}
		if inline < 2 || strings.Count(policy, "'sha256-") != inline {
			t.Errorf("%s: %d scripts and styles in the page, policy %q", path, inline, policy)
		}
	}
}
