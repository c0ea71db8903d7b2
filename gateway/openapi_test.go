package gateway_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/version"
	"github.com/agiqa/agiqa/quality"
)

type object = map[string]any

// at walks a document.
func at(t *testing.T, v any, path ...string) any {
	t.Helper()
	for _, key := range path {
		o, ok := v.(object)
		if !ok || o[key] == nil {
			t.Fatalf("no %s at %q", key, path)
		}
		v = o[key]
	}
	return v
}

func document(t *testing.T, r *rig) object {
	t.Helper()
	data, err := r.gateway.OpenAPI()
	must(t, err)
	var doc object
	must(t, json.Unmarshal(data, &doc))
	return doc
}

func TestOpenAPIIsServedAsItIsPrinted(t *testing.T) {
	r := newRig(t)
	printed, err := r.gateway.OpenAPI()
	must(t, err)
	var compact bytes.Buffer
	must(t, json.Compact(&compact, printed))
	served := r.ask(http.MethodGet, "/openapi.json", nil)
	if got := served.header.Get("Content-Type"); served.status != 200 ||
		!strings.HasSuffix(strings.Split(got, ";")[0], "json") {
		t.Errorf("status %d, Content-Type %q", served.status, got)
	}
	if !bytes.Equal(bytes.TrimSpace(served.body), compact.Bytes()) {
		t.Error("/openapi.json is not what OpenAPI returns")
	}
	if !bytes.HasSuffix(printed, []byte("}\n")) || bytes.Count(printed, []byte("\n")) < 100 {
		t.Error("the document is not indented")
	}
}

// TestOpenAPIStructure checks what a generator of clients relies on.
func TestOpenAPIStructure(t *testing.T) {
	r := newRig(t)
	doc := document(t, r)
	if got := at(t, doc, "openapi"); got != "3.1.0" {
		t.Errorf("openapi %v, want 3.1.0", got)
	}
	if at(t, doc, "info", "title") != "agiqa" || at(t, doc, "info", "version") != version.Number {
		t.Errorf("info %v", doc["info"])
	}
	ids := map[string]bool{}
	for path, item := range at(t, doc, "paths").(object) {
		for method, op := range item.(object) {
			where := method + " " + path
			id, _ := at(t, op, "operationId").(string)
			if ids[id] {
				t.Errorf("%s: operationId %q is used twice", where, id)
			}
			ids[id] = true
			if at(t, op, "summary") == "" {
				t.Errorf("%s has no summary", where)
			}
			for _, name := range regexp.MustCompile(`\{(\w+)\}`).FindAllStringSubmatch(path, -1) {
				if !slices.ContainsFunc(at(t, op, "parameters").([]any), func(p any) bool {
					return at(t, p, "name") == name[1] && at(t, p, "in") == "path" && at(t, p, "required") == true
				}) {
					t.Errorf("%s: parameter %s is not described", where, name[1])
				}
			}
			if body, has := op.(object)["requestBody"]; has && at(t, body, "required") != true {
				t.Errorf("%s: the body is not required", where)
			}
			for code, response := range at(t, op, "responses").(object) {
				if at(t, response, "description") == "" {
					t.Errorf("%s %s has no description", where, code)
				}
				if code < "400" || strings.HasPrefix(path, "/readyz") {
					continue
				}
				if got := at(t, response, "content", "application/problem+json", "schema",
					"$ref"); got != "#/components/schemas/Problem" {
					t.Errorf("%s %s refers to %v", where, code, got)
				}
			}
		}
	}
	for _, path := range []string{"/v1/score", "/v1/compare", "/v1/preprocess", "/v1/checkpoints",
		"/v1/checkpoints/{name}", "/healthz", "/readyz", "/metrics"} {
		at(t, doc, "paths", path)
	}
}

// TestProblemCodesAreDocumented: every kind that a client can see, and huma's
// own error nowhere.
func TestProblemCodesAreDocumented(t *testing.T) {
	r := newRig(t)
	schema := at(t, document(t, r), "components", "schemas", "Problem")
	codes := at(t, schema, "properties", "code", "enum").([]any)
	for _, kind := range quality.Kinds() {
		if got, want := slices.Contains(codes, any(string(kind))), kind != quality.KindClientClosedRequest; got != want {
			t.Errorf("code %s is documented: %v, want %v", kind, got, want)
		}
	}
	if schemas := at(t, document(t, r), "components", "schemas").(object); schemas["ErrorModel"] != nil ||
		schemas["ErrorDetail"] != nil {
		t.Error("huma's own error is documented")
	}
}

func asList(v any) []any { l, _ := v.([]any); return l }

var reference = regexp.MustCompile(`(?i)(?:src|href|action|url)\s*[=(:]\s*["']?([^"'\s)>]+)`)

// TestPagesAreWhole: neither page names another host, and both forbid the
// browser to load from one.
func TestPagesAreWhole(t *testing.T) {
	r := newRig(t)
	for _, path := range []string{"/", "/docs", "/docs/"} {
		answer := r.ask(http.MethodGet, path, nil)
		if answer.status != http.StatusOK || !strings.HasPrefix(answer.header.Get("Content-Type"), "text/html") {
			t.Fatalf("%s: %d %s", path, answer.status, answer.header.Get("Content-Type"))
		}
		found := reference.FindAllSubmatch(answer.body, -1)
		for _, m := range found {
			if u, err := url.Parse(string(m[1])); err == nil && u.Host != "" {
				t.Errorf("%s refers to %s", path, m[1])
			}
			if strings.HasPrefix(path, "/docs") && bytes.HasPrefix(m[1], []byte("/docs/")) {
				if asset := r.ask(http.MethodGet, string(m[1]), nil); asset.status != http.StatusOK || len(asset.body) == 0 {
					t.Errorf("%s: %s answers %d", path, m[1], asset.status)
				}
			}
		}
		if len(found) < 3 {
			t.Errorf("%s: only %d references found", path, len(found))
		}
		csp := answer.header.Get("Content-Security-Policy")
		for _, part := range []string{"default-src 'none'", "base-uri 'none'",
			"form-action 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: policy %q lacks %s", path, csp, part)
			}
		}
		if strings.Contains(csp, "http") || strings.Contains(csp, "*") || strings.Contains(csp, "unsafe-eval") {
			t.Errorf("%s: policy %q lets others in", path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff",
			"Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
			if got := answer.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	if got := r.post("/v1/score", []byte("x"), "image/png").header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("a problem has X-Content-Type-Options %q", got)
	}
}
