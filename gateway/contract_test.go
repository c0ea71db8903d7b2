package gateway_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/experiment"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/experiment/storetest"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/scoring"
)

// newWholeRig is a rig with the names of the demo checkpoints, an admin key,
// experiments, and the API key that the examples name.
func newWholeRig(t *testing.T, edits ...func(*plan)) *rig {
	t.Helper()
	hasher, err := experiment.NewHasher([]byte("a key of thirty-two bytes, secret"))
	must(t, err)
	return newAdminRig(t, &ledger{}, append(edits, func(p *plan) {
		p.checkpoints = []string{"demo-shared", "demo"}
		p.wrap = func(s gateway.Scorer) gateway.Scorer {
			store := storetest.Open(t, time.Now)
			must(t, store.CreateKey(t.Context(), access.Key{ID: "abcdefgh2345", Name: "example", Created: time.Now(),
				Scopes: []access.Scope{access.ScopeScore}}))
			p.keys = newKeys(t, store)
			e, err := engine.New(engine.Deps{
				Store: store, Hasher: hasher, Checkpoints: trialShelf{newShelf(p.checkpoints)},
				Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(), Logger: slog.New(slog.DiscardHandler),
			})
			must(t, err)
			p.experiments = e
			return scoring.NewDirected(s.(*scoring.Service), trialDirector{e})
		}
	})...)
}

// pathOf fills in the examples of a path's parameters.
func pathOf(path string, op map[string]any) string {
	return regexp.MustCompile(`\{(\w+)\}`).ReplaceAllStringFunc(path, func(name string) string {
		parameters, _ := op["parameters"].([]any)
		for _, p := range parameters {
			if p := p.(object); p["name"] == strings.Trim(name, "{}") && p["example"] != nil {
				return p["example"].(string)
			}
		}
		return name
	})
}

// TestExamplesCanBeSent sends each operation as the docs page would, in an
// order in which each can succeed.
func TestExamplesCanBeSent(t *testing.T) {
	r := newWholeRig(t, func(p *plan) { p.gateway.AllowedHosts = []string{"*"} }) // the challenge names an address
	order := []string{
		"POST /v1/experiments", "PUT /v1/experiments/{id}", "POST /v1/experiments/{id}/clone",
		"DELETE /v1/experiments/{id}", "POST /v1/experiments/{id}/start", "POST /v1/score", "POST /v1/feedback",
		"POST /v1/experiments/{id}/tasks", "POST /v1/experiments/{id}/ramp", "POST /v1/experiments/{id}/pause",
		"POST /v1/experiments/{id}/resume",
	}
	last := []string{
		"POST /v1/experiments/{id}/stop", "POST /v1/experiments/{id}/promote", "POST /v1/experiments/{id}/rollback",
		"POST /v1/experiments/{id}/archive", "POST /v1/experiments/{id}/restore",
	}
	for _, op := range r.contract().Operations() {
		if name := op[0] + " " + op[1]; !slices.Contains(append(order, last...), name) {
			order = append(order, name)
		}
	}
	for _, name := range append(order, last...) {
		method, path, _ := strings.Cut(name, " ")
		op := r.contract().Operation(method, path)
		bodies := map[string][]byte{"": nil}
		if body, has := op["requestBody"].(object); has {
			bodies = examplesOf(t, body)
		}
		if name == "POST /v1/checkpoints" { // takes files
			body, contentType := bundleForm(t, "manifest", "{}", "weights", "numbers")
			bodies = map[string][]byte{contentType: body}
		}
		if len(bodies) == 0 {
			t.Errorf("%s has no example", name)
		}
		for contentType, body := range bodies {
			if name == "POST /v1/experiments" && contentType == "application/yaml" {
				body = bytes.ReplaceAll(body, []byte("id: prompt-contexts"), []byte("id: other"))
			}
			headers := append(bearer(adminKey), "Content-Type", contentType)
			target := pathOf(path, op)
			if name == "DELETE /v1/experiments/{id}" {
				target = strings.Replace(target, "prompt-contexts", "other", 1)
			}
			w := r.admin(method, target, bytes.NewReader(body), headers...)
			if w.Code >= 300 {
				t.Errorf("%s %s answers %d: %s", name, contentType, w.Code, w.Body)
			}
		}
	}
}

// examplesOf returns the examples of a request's body by their types.
func examplesOf(t *testing.T, body object) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for contentType, media := range body["content"].(object) {
		switch example := media.(object)["example"].(type) {
		case nil:
		case string:
			out[contentType] = []byte(example)
		default:
			data, err := json.Marshal(example)
			must(t, err)
			out[contentType] = data
		}
	}
	return out
}

// TestHeadIsGetWithoutABody, for every operation that can be got.
func TestHeadIsGetWithoutABody(t *testing.T) {
	r := newWholeRig(t)
	must(t, createExample(r))
	server := r.serve()
	ask := func(method, path string) reply {
		req, err := http.NewRequestWithContext(t.Context(), method, server.URL+path, nil)
		must(t, err)
		req.Header.Set("Authorization", "Bearer "+adminKey)
		resp, err := server.Client().Do(req)
		must(t, err)
		return readReply(t, resp)
	}
	n := 0
	for _, op := range r.contract().Operations() {
		if op[0] != http.MethodGet {
			continue
		}
		n++
		path := pathOf(op[1], r.contract().Operation(op[0], op[1]))
		got, head := ask(http.MethodGet, path), ask(http.MethodHead, path)
		if head.status != got.status || len(head.body) != 0 ||
			head.header.Get("Content-Type") != got.header.Get("Content-Type") {
			t.Errorf("HEAD %s: status %d, %d bytes, %s; GET: status %d, %s", path,
				head.status, len(head.body), head.header.Get("Content-Type"), got.status, got.header.Get("Content-Type"))
		}
	}
	if n < 10 {
		t.Errorf("only %d operations", n)
	}
	for path, want := range map[string]int{"/nothing": 404, "/v1/score": 405, "/v1/checkpoints/none": 404} {
		if got := ask(http.MethodHead, path); got.status != want || len(got.body) != 0 {
			t.Errorf("HEAD %s: status %d, %d bytes, want %d and none", path, got.status, len(got.body), want)
		}
	}
}

func createExample(r *rig) error {
	op := r.contract().Operation(http.MethodPost, "/v1/experiments")
	body := examplesOf(r.t, op["requestBody"].(object))["application/json"]
	headers := append(bearer(adminKey), "Content-Type", "application/json")
	w := r.admin(http.MethodPost, "/v1/experiments", bytes.NewReader(body), headers...)
	if w.Code != http.StatusCreated {
		return fmt.Errorf("status %d: %s", w.Code, w.Body)
	}
	return nil
}

// TestMalformedBodies sends to every operation that takes a body what doesn't
// fit. The rig fails where an answer isn't documented, or names a type of Go.
func TestMalformedBodies(t *testing.T) {
	r := newWholeRig(t)
	bodies := []string{
		"", "{", "[]", "null", "1", `"x"`, "{}", "\xff\xfe", `{"a":1}`,
		`{"images":1}`, `{"images":[1]}`, `{"images":[{"data":1}]}`,
		`{"images":[{"data":"%"}],"checkpoint":[]}`, `{"id":"x","id":"y"}`, `{"id":{},"arms":"a","mde":"x","horizon":1.5}`,
		`{"id":"x","arms":[{"checkpoint":"demo","weight":"x","role":[]},3],"min_duration":"soon","coverage":{},"ramp":7}`,
		`{"id":"x","arms":[{"checkpoint":"demo","wait":1}],"audience":[1],"blind_feedback_required":"maybe","namespace":1}`,
		`{"arm":1}`, `{"coverage":1}`, `{"weights":{"a":1}}`, `{"weights":[]}`, `{"coverage":"x"}`,
		`{"idempotency_key":1,"rater_id":"a","kind":"mos","value":"x","given_at":1}`,
		`{"idempotency_key":"k","rater_id":"a","kind":"mos","value":1e999,"given_at":"yesterday"}`,
		`{"idempotency_key":"k","rater_id":"a","kind":"mos","blind":"yes","latency_ms":"x"}`,
		"id: x\narms: a\n", "id: [x\n", "id: x\n\tarms: 1\n", "a: &a [*a]", "? [a]\n: b",
		"id: x\nid: y\n", strings.Repeat("[", 100),
	}
	for _, op := range r.contract().Operations() {
		if op[0] != http.MethodPost {
			continue
		}
		path := pathOf(op[1], r.contract().Operation(op[0], op[1]))
		if r.contract().Operation(op[0], op[1])["requestBody"] == nil {
			continue
		}
		for _, contentType := range []string{
			"application/json", "application/yaml", "application/octet-stream", "image/png", "text/plain", "", "x",
			"multipart/form-data", "multipart/form-data; boundary=b", "application/problem+json", "application/cbor",
		} {
			for _, body := range bodies {
				w := r.admin(op[0], path, strings.NewReader(body), append(bearer(adminKey), "Content-Type", contentType)...)
				if w.Code < 400 || w.Code >= 500 {
					t.Errorf("%s %s, %s, %q: status %d: %s", op[0], path, contentType, body, w.Code, w.Body)
				}
			}
		}
	}
}

// TestMalformedParameters: as the bodies, for the path and the query.
func TestMalformedParameters(t *testing.T) {
	r := newWholeRig(t)
	must(t, createExample(r))
	for _, op := range r.contract().Operations() {
		operation := r.contract().Operation(op[0], op[1])
		path := pathOf(op[1], operation)
		parameters, _ := operation["parameters"].([]any)
		for _, p := range parameters {
			name, in := p.(object)["name"].(string), p.(object)["in"]
			for _, value := range []string{"", "x", "-1", "1.5", "%00", "%FF", "true", strings.Repeat("a", 5000)} {
				target, headers := path, bearer(adminKey)
				switch in {
				case "query":
					target += "?" + name + "=" + value
				case "header":
					headers = append(headers, name, value)
				case "path":
					target = strings.Replace(path, p.(object)["example"].(string), value, 1)
				}
				if op[0] == http.MethodPost && strings.Contains(path, "/v1/experiments/") {
					target = strings.Replace(target, "prompt-contexts", "none", 1)
				}
				r.admin(op[0], target, nil, headers...)
			}
		}
	}
}

func TestIcon(t *testing.T) {
	r := newRig(t)
	got := r.ask(http.MethodGet, "/favicon.ico", nil)
	if got.status != http.StatusOK || !bytes.HasPrefix(got.body, []byte{0, 0, 1, 0}) || len(got.body) > 4096 {
		t.Errorf("status %d, %d bytes", got.status, len(got.body))
	}
	page := r.ask(http.MethodGet, "/", nil)
	if !bytes.Contains(page.body, []byte(`<link rel="icon" href="/favicon.ico">`)) {
		t.Error("the page doesn't name its icon")
	}
}
