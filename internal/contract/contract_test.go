package contract_test

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/agiqa/agiqa/internal/contract"
)

const document = `{
  "openapi": "3.1.0", "info": {"title": "t", "version": "1"},
  "paths": {
    "/a/{id}": {"get": {"operationId": "a", "responses": {
      "200": {"description": "d", "headers": {"X-Id": {"$ref": "#/components/headers/id"}},
        "content": {"application/json": {"schema": {"$ref": "#/components/schemas/A"}}}},
      "204": {"description": "nothing"}
    }}},
    "/a/b": {"get": {"operationId": "b", "responses": {
      "200": {"description": "d", "content": {"text/plain": {"schema": {"type": "string", "minLength": 2}}}}}}}
  },
  "components": {
    "headers": {"id": {"required": true, "schema": {"type": "integer"}}},
    "schemas": {
      "A": {"type": "object", "additionalProperties": false, "required": ["n"], "properties": {
        "n": {"type": ["integer", "null"], "format": "int32"}, "error": {"$ref": "#/components/schemas/Problem"}}},
      "Problem": {"type": "object", "additionalProperties": false, "required": ["code", "detail"], "properties": {
        "code": {"type": "string"}, "detail": {"type": "string"}}}
    }
  }
}`

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCheck(t *testing.T) {
	d, err := contract.Parse([]byte(document))
	must(t, err)
	sound := contract.Exchange{
		Method: "GET", Path: "/a/1", Status: 200, Body: []byte(`{"n":1}`),
		Header: http.Header{"Content-Type": {"application/json; charset=utf-8"}, "X-Id": {"7"}},
	}
	problem := http.Header{"Content-Type": {"application/problem+json"}, "Allow": {"GET"}}
	for _, test := range []struct {
		name string
		edit func(*contract.Exchange)
		want string // "": the exchange is sound
	}{
		{"sound", func(*contract.Exchange) {}, ""},
		{"null", func(x *contract.Exchange) { x.Body = []byte(`{"n":null}`) }, ""},
		{"HEAD", func(x *contract.Exchange) { x.Method, x.Body = "HEAD", nil }, ""},
		{"no content", func(x *contract.Exchange) { x.Status, x.Body, x.Header = 204, nil, http.Header{} }, ""},
		{"a path without parameters", func(x *contract.Exchange) {
			x.Path, x.Header, x.Body = "/a/b", http.Header{"Content-Type": {"text/plain"}}, []byte("text")
		}, ""},
		{"another type", func(x *contract.Exchange) { x.Body = []byte(`{"n":"1"}`) }, "got string"},
		{"too large a number", func(x *contract.Exchange) { x.Body = []byte(`{"n":3000000000}`) }, "int32"},
		{"a member too many", func(x *contract.Exchange) { x.Body = []byte(`{"n":1,"m":1}`) }, "additional properties 'm'"},
		{"a member that is missing", func(x *contract.Exchange) { x.Body = []byte(`{}`) }, "missing property 'n'"},
		{"not JSON", func(x *contract.Exchange) { x.Body = []byte(`{`) }, "EOF"},
		{"an undocumented status", func(x *contract.Exchange) { x.Status = 202 }, "status 202 is not documented"},
		{"an undocumented type", func(x *contract.Exchange) { x.Header.Set("Content-Type", "text/plain") }, "Content-Type"},
		{"a header too many", func(x *contract.Exchange) { x.Header.Set("X-New", "1") }, "header X-New is not documented"},
		{"a header that is missing", func(x *contract.Exchange) { x.Header.Del("X-Id") }, "header X-Id is missing"},
		{"a header of another type", func(x *contract.Exchange) { x.Header.Set("X-Id", "x") }, "header X-Id"},
		{"a body where there is none", func(x *contract.Exchange) {
			x.Status, x.Header = 204, http.Header{}
		}, "a body is sent"},
		{"text that is too short", func(x *contract.Exchange) {
			x.Path, x.Header, x.Body = "/a/b", http.Header{"Content-Type": {"text/plain"}}, []byte("x")
		}, "minLength"},
		{"a type of Go in a part", func(x *contract.Exchange) {
			x.Body = []byte(`{"n":null,"error":{"code":"c","detail":"string into Go struct field A.n of type int64"}}`)
		}, "word of Go"},
		{"an undocumented path", func(x *contract.Exchange) { x.Path = "/c" }, "no such operation"},
		{"no such path", func(x *contract.Exchange) {
			x.Path, x.Status, x.Header, x.Body = "/c", 404, problem, []byte(`{"code":"not_found","detail":"d"}`)
		}, ""},
		{"no such path, said otherwise", func(x *contract.Exchange) {
			x.Path, x.Status, x.Header, x.Body = "/c", 404, problem, []byte(`{"message":"no"}`)
		}, "missing properties"},
		{"another method", func(x *contract.Exchange) {
			x.Method, x.Status, x.Header, x.Body = "POST", 405, problem, []byte(`{"code":"c","detail":"d"}`)
		}, ""},
		{"another method, served", func(x *contract.Exchange) { x.Method = "POST" }, "no such operation"},
	} {
		t.Run(test.name, func(t *testing.T) {
			x := sound
			x.Header = maps.Clone(sound.Header)
			test.edit(&x)
			switch err := d.Check(x); {
			case test.want == "" && err != nil:
				t.Error(err)
			case test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)):
				t.Errorf("got %v, want something of %q", err, test.want)
			}
		})
	}
}

func TestGoTypesAreFound(t *testing.T) {
	d, err := contract.Parse([]byte(document))
	must(t, err)
	for text, want := range map[string]bool{
		"the value at /arms/0 is malformed": true, "images[0].data is not base64": true, "a shape of [] is wrong": true,
		"json: cannot unmarshal string into Go struct field A.b": false, "line 1: cannot unmarshal !!str into int64": false,
		"field x not found in type experiment.Definition": false, "cannot unmarshal object into []string": false,
		"of type map[string]int": false, "into float64": false,
	} {
		body, err := json.Marshal(map[string]any{"code": "c", "detail": text})
		must(t, err)
		err = d.Check(contract.Exchange{
			Method: "GET", Path: "/c", Status: 404, Body: body,
			Header: http.Header{"Content-Type": {"application/problem+json"}},
		})
		if (err == nil) != want {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	for _, test := range []struct{ name, old, new, want string }{
		{"what OpenAPI refuses", `"openapi": "3.1.0"`, `"openapi": "2.0"`, "not an OpenAPI 3.1 document"},
		{"a response without a description", `"description": "nothing"`, `"summary": "x"`, "description"},
		{"an open object", `"additionalProperties": false, "required": ["n"]`, `"required": ["n"]`, "leaves open"},
		{"an unknown type", `"type": "integer"`, `"type": "int"`, "schema"},
		{"a reference to nothing", `schemas/Problem"`, `schemas/None"`, "None"},
		{"an example that doesn't fit", `"minLength": 2}`, `"minLength": 2}, "example": "x"`, "the example does not fit"},
	} {
		t.Run(test.name, func(t *testing.T) {
			spoilt := strings.Replace(document, test.old, test.new, 1)
			if _, err := contract.Parse([]byte(spoilt)); err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want something of %q", err, test.want)
			}
		})
	}
}

// TestHandlerAndTransport: both see an answer that differs, and pass it on.
func TestHandlerAndTransport(t *testing.T) {
	d, err := contract.Parse([]byte(document))
	must(t, err)
	var seen []error
	report := func(err error) { seen = append(seen, err) }
	server := httptest.NewServer(d.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Request-ID", "1")
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"n":"x"}`)
	}), report))
	defer server.Close()
	client := &http.Client{Transport: &contract.Transport{Base: http.DefaultTransport, Document: func() *contract.Document { return d }, Report: report}}
	resp, err := client.Get(server.URL + "/a/1")
	must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	must(t, err)
	if len(seen) != 2 || string(body) != `{"n":"x"}` {
		t.Errorf("%d faults, body %s: %v", len(seen), body, errors.Join(seen...))
	}
}
