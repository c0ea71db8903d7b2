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

	"github.com/agiqa/agiqa/internal/testimages"
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
	if got := served.header.Get("Content-Type"); served.status != 200 || !strings.HasSuffix(strings.Split(got, ";")[0], "json") {
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
	if at(t, doc, "info", "title") != "agiqa" || at(t, doc, "info", "version") != "test" {
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
				if got := at(t, response, "content", "application/problem+json", "schema", "$ref"); got != "#/components/schemas/Problem" {
					t.Errorf("%s %s refers to %v", where, code, got)
				}
			}
		}
	}
	for _, path := range []string{"/v1/score", "/v1/compare", "/v1/preprocess", "/v1/checkpoints", "/v1/checkpoints/{name}", "/healthz", "/readyz", "/metrics"} {
		at(t, doc, "paths", path)
	}
	wantReferencesResolve(t, doc, doc)
}

func wantReferencesResolve(t *testing.T, doc object, v any) {
	t.Helper()
	switch v := v.(type) {
	case object:
		if ref, ok := v["$ref"].(string); ok {
			at(t, doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...)
		}
		for _, child := range v {
			wantReferencesResolve(t, doc, child)
		}
	case []any:
		for _, child := range v {
			wantReferencesResolve(t, doc, child)
		}
	}
}

// TestProblemIsDocumentedAsItIsSent: members, requirement and codes.
func TestProblemIsDocumentedAsItIsSent(t *testing.T) {
	r := newRig(t)
	schema := at(t, document(t, r), "components", "schemas", "Problem")
	var sent object
	must(t, json.Unmarshal(r.post("/v1/score", []byte(`{"images":[{"x":1}]}`), "application/json").body, &sent))
	for name := range sent {
		at(t, schema, "properties", name)
	}
	for _, name := range []string{"type", "title", "status", "detail", "code", "retryable", "request_id", "trace_id"} {
		if !slices.Contains(at(t, schema, "required").([]any), any(name)) || sent[name] == nil {
			t.Errorf("%s: required and sent are not both true", name)
		}
	}
	codes := at(t, schema, "properties", "code", "enum").([]any)
	for _, kind := range quality.Kinds() {
		if got, want := slices.Contains(codes, any(string(kind))), kind != quality.KindClientClosedRequest; got != want {
			t.Errorf("code %s is documented: %v, want %v", kind, got, want)
		}
	}
	if schemas := at(t, document(t, r), "components", "schemas").(object); schemas["ErrorModel"] != nil || schemas["ErrorDetail"] != nil {
		t.Error("huma's own error is documented")
	}
}

// TestAnswersFitTheDocument: every member that is sent is described, and every
// required one is sent.
func TestAnswersFitTheDocument(t *testing.T) {
	r := newRig(t)
	doc := document(t, r)
	file := testimages.PNG(8, 8)
	for path, answer := range map[string]reply{
		"/v1/score":              r.post("/v1/score?include=embedding", file, "image/png"),
		"/v1/compare":            r.post("/v1/compare", file, "image/png"),
		"/v1/checkpoints":        r.ask(http.MethodGet, "/v1/checkpoints", nil),
		"/v1/checkpoints/{name}": r.ask(http.MethodGet, "/v1/checkpoints/demo", nil),
		"/readyz":                r.ask(http.MethodGet, "/readyz", nil),
	} {
		var sent any
		must(t, json.Unmarshal(answer.body, &sent))
		method, code := "get", "200"
		if strings.HasPrefix(path, "/v1/score") || path == "/v1/compare" {
			method = "post"
		}
		wantFits(t, doc, at(t, doc, "paths", path, method, "responses", code, "content", "application/json", "schema"), sent, path)
	}
}

func wantFits(t *testing.T, doc object, schema, sent any, where string) {
	t.Helper()
	s := schema.(object)
	if ref, ok := s["$ref"].(string); ok {
		s = at(t, doc, strings.Split(strings.TrimPrefix(ref, "#/"), "/")...).(object)
	}
	switch v := sent.(type) {
	case object:
		properties, _ := s["properties"].(object)
		for name, child := range v {
			if properties[name] == nil && s["additionalProperties"] == false {
				t.Errorf("%s.%s is sent and not described", where, name)
			} else if properties[name] != nil {
				wantFits(t, doc, properties[name], child, where+"."+name)
			}
		}
		for _, name := range asList(s["required"]) {
			if _, ok := v[name.(string)]; !ok {
				t.Errorf("%s.%v is required and not sent", where, name)
			}
		}
	case []any:
		if len(v) > 0 {
			wantFits(t, doc, s["items"], v[0], where+"[0]")
		}
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
		for _, part := range []string{"default-src 'none'", "base-uri 'none'", "form-action 'none'", "frame-ancestors 'none'"} {
			if !strings.Contains(csp, part) {
				t.Errorf("%s: policy %q lacks %s", path, csp, part)
			}
		}
		if strings.Contains(csp, "http") || strings.Contains(csp, "*") || strings.Contains(csp, "unsafe-eval") {
			t.Errorf("%s: policy %q lets others in", path, csp)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "X-Frame-Options": "DENY"} {
			if got := answer.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", path, name, got, want)
			}
		}
	}
	if got := r.post("/v1/score", []byte("x"), "image/png").header.Get("X-Content-Type-Options"); got != "nosniff" {
		t.Errorf("a problem has X-Content-Type-Options %q", got)
	}
}
