package gateway

import (
	"bytes"
	_ "embed" // for example.png
	"encoding/base64"
	"encoding/json"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/quality"
)

// OpenAPI returns the OpenAPI 3.1 document as JSON, indented and ending with a
// newline, so that two versions of it can be compared line by line.
func (g *Gateway) OpenAPI() ([]byte, error) {
	compact, err := g.document()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// serveOpenAPI serves the document. huma's own routes would serve one for
// OpenAPI 3.0 too, which knows no null beside a reference.
func (g *Gateway) serveOpenAPI() {
	for _, form := range []struct {
		path, contentType string
		write             func() ([]byte, error)
	}{
		{"/openapi.json", "application/openapi+json", g.document},
		{"/openapi.yaml", "application/openapi+yaml", sync.OnceValues(g.api.OpenAPI().YAML)},
	} {
		g.engine.GET(form.path, func(c *gin.Context) {
			document, err := form.write()
			if err != nil {
				abort(c, err)
				return
			}
			c.Data(http.StatusOK, form.contentType, document)
		})
	}
}

// describeRest adds to the document what huma cannot know: the routes that are
// not operations of it, and what it leaves open of those that are.
func describeRest(document *huma.OpenAPI) {
	schemas := document.Components.Schemas
	document.Servers = []*huma.Server{{URL: "/", Description: "The server that this document comes from"}}
	document.Components.Headers = headers()
	document.Components.SecuritySchemes = securitySchemes()
	describeOperations(document)
	for path, item := range document.Paths {
		for method, op := range operations(item) {
			// The route of docs-asset is no template of OpenAPI, and public.
			p, _ := permitOf(method, ginRoute(path))
			op.Security = security(p)
			correctResponses(op, p)
		}
		if item.Post != nil && item.Post.RequestBody != nil { // said in the document only: see scoreBody
			post, body := *item.Post, *item.Post.RequestBody
			body.Required, post.RequestBody = true, &body
			item.Post = &post
		}
	}
	correctSchemas(schemas)
	addExamples(document)
}

// securitySchemes are the two headers that a key may come in.
func securitySchemes() map[string]*huma.SecurityScheme {
	return map[string]*huma.SecurityScheme{
		"bearer": {Type: "http", Scheme: "bearer", Description: "An API key with the scope that the operation names, " +
			"or the key in the server's setting admin-key, which may do everything"},
		"apiKey": {Type: "apiKey", In: "header", Name: KeyHeader, Description: "As bearer, in a header of its own"},
	}
}

// security says which scope a key needs.
func security(p permit) []map[string][]string {
	if p.scope == "" {
		return []map[string][]string{}
	}
	scopes := []string{string(p.scope)}
	all := []map[string][]string{{"bearer": scopes}, {"apiKey": scopes}}
	if p.open { // by the server's setting scoring-access
		all = slices.Insert(all, 0, map[string][]string{})
	}
	return all
}

// describeOperations adds the routes that huma doesn't serve.
func describeOperations(document *huma.OpenAPI) {
	add := func(path, id, summary string, responses map[string]*huma.Response) {
		document.AddOperation(&huma.Operation{
			OperationID: id, Method: http.MethodGet, Path: path, Tags: []string{"Operation"},
			Summary: summary, Responses: responses,
		})
	}
	one := func(about, contentType string, schema *huma.Schema) *huma.Response {
		return &huma.Response{Description: about, Content: map[string]*huma.MediaType{contentType: {Schema: schema}}}
	}
	schemaOf := func(t reflect.Type) *huma.Schema { return document.Components.Schemas.Schema(t, true, "") }
	text := &huma.Schema{Type: huma.TypeString}
	readiness := func(about string) *huma.Response {
		return one(about, "application/json", schemaOf(reflect.TypeFor[ReadinessReport]()))
	}
	add("/readyz", "readiness", "Whether requests may be sent here", map[string]*huma.Response{
		"200": readiness("Ready, or degraded"), "503": readiness("Not ready, or draining"),
	})
	add("/healthz", "liveness", "Whether the process answers", map[string]*huma.Response{
		"200": one("It does", "application/json", schemaOf(reflect.TypeFor[Liveness]())),
	})
	metrics := one("In its text format or OpenMetrics", "text/plain", text)
	metrics.Content["application/openmetrics-text"] = &huma.MediaType{Schema: text}
	add("/metrics", "metrics", "Metrics for Prometheus", map[string]*huma.Response{"200": metrics})
	document.Paths["/metrics"].Get.Parameters = []*huma.Param{{
		Name: "name[]", In: "query", Description: "Only the metric of this name; may be repeated",
		Schema: &huma.Schema{Type: huma.TypeArray, Items: text},
	}}
	add("/", "page", "A page to try the server", map[string]*huma.Response{"200": one("The page", "text/html", text)})
	add("/favicon.ico", "icon", "The icon of the pages", map[string]*huma.Response{
		"200": one("The icon", "image/x-icon", binarySchema()),
	})
	add("/docs", "docs", "This document as a page", map[string]*huma.Response{"200": one("The page", "text/html", text)})
	document.AddOperation(&huma.Operation{
		OperationID: "docs-asset", Method: http.MethodGet, Path: "/docs/{asset}", Tags: []string{"Operation"},
		Summary:    "What that page consists of",
		Parameters: []*huma.Param{{Name: "asset", In: "path", Required: true, Schema: text, Example: "swagger-ui.css"}},
		Responses: map[string]*huma.Response{"200": {Description: "The asset", Content: map[string]*huma.MediaType{
			"text/html": {Schema: text}, "text/css": {Schema: text}, "text/javascript": {Schema: text},
			"application/javascript": {Schema: text}, "image/png": {Schema: binarySchema()},
		}}, "304": {Description: "The client has it, by its If-None-Match"}},
	})
	whole := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
	add("/openapi.json", "openapi", "This document", map[string]*huma.Response{
		"200": one("The document in JSON", "application/openapi+json", whole),
	})
	add("/openapi.yaml", "openapi-yaml", "This document in YAML", map[string]*huma.Response{
		"200": one("The document in YAML", "application/openapi+yaml", text),
	})
}

func binarySchema() *huma.Schema { return &huma.Schema{Type: huma.TypeString, Format: "binary"} }

// Headers of answers, by their name among the document's components.
const headerPrefix = "#/components/headers/"

// browserHeaders are what every answer tells a browser; see protect.
var browserHeaders = []string{
	"X-Content-Type-Options", "Cache-Control", "Content-Security-Policy", "Referrer-Policy", "X-Frame-Options",
}

func headers() map[string]*huma.Header {
	text := func(about, pattern string) *huma.Header {
		return &huma.Header{Description: about, Required: true, Schema: &huma.Schema{Type: huma.TypeString, Pattern: pattern}}
	}
	one := 1.0
	return map[string]*huma.Header{
		"X-Request-ID": text("The request's own X-Request-ID where that is 1 to 64 letters, digits and any of . _ : -, "+
			"otherwise a new one", "^[A-Za-z0-9._:-]{1,64}$"),
		"X-Trace-ID":             text("Trace of this request", "^[0-9a-f]{32}$"),
		"X-Content-Type-Options": text("The Content-Type is right", "^nosniff$"),
		"WWW-Authenticate":       text("How to authenticate", "^Bearer$"),
		"Retry-After": {
			Description: "When to try again, in seconds from now", Required: true,
			Schema: &huma.Schema{Type: huma.TypeInteger, Minimum: &one},
		},
		"Content-Security-Policy": text("What a browser may load for the answer", ""),
		"Referrer-Policy":         text("What a browser says of the answer elsewhere", ""),
		"X-Frame-Options":         text("Whether a page may contain the answer", ""),
		"Cache-Control":           text("How long the answer may be kept", ""),
	}
}

// furtherSuccesses are the statuses beside 201 of an operation, by its id.
var furtherSuccesses = map[string]map[string]string{
	"import-checkpoint": {"200": "It was there before, with the same content"},
	"feedback":          {"200": "It was there before", "202": "Kept; no exposure is known yet"},
}

// statusWords describe the answers that are problems.
var statusWords = map[int]string{
	http.StatusBadRequest:            "The request is malformed: its parameters, or its body",
	http.StatusUnauthorized:          "The API key is missing or not valid",
	http.StatusForbidden:             "The API key lacks the scope, or a web page sent the request whose origin may not",
	http.StatusMisdirectedRequest:    "The Host header names another server",
	http.StatusNotFound:              "What is named does not exist",
	http.StatusRequestTimeout:        "The body did not arrive in time",
	http.StatusConflict:              "The present state forbids it",
	http.StatusRequestEntityTooLarge: "The body, or a part of it, is too large",
	http.StatusUnsupportedMediaType:  "The body is of a type that is not read here",
	http.StatusUnprocessableEntity:   "The request is well-formed, and its content is not usable",
	http.StatusTooManyRequests:       "Too many requests from this client",
	http.StatusInternalServerError:   "An error of the server",
	http.StatusBadGateway:            "A model's output is not usable",
	http.StatusServiceUnavailable:    "Overloaded, shutting down, or something that is needed is unavailable",
	http.StatusGatewayTimeout:        "The request used up its time budget",
}

// correctResponses gives an operation the answers that every one has, and
// every answer its headers.
func correctResponses(op *huma.Operation, p permit) {
	problem := func(status int) {
		op.Responses[strconv.Itoa(status)] = &huma.Response{Content: map[string]*huma.MediaType{
			"application/problem+json": {Schema: &huma.Schema{Ref: schemaPrefix + "Problem"}},
		}}
	}
	delete(op.Responses, "default")
	for status, words := range furtherSuccesses[op.OperationID] {
		op.Responses[status] = &huma.Response{Description: words, Content: op.Responses["201"].Content}
	}
	if op.RequestBody == nil { // huma takes every operation with parameters for one that sends it
		delete(op.Responses, "422")
	}
	problem(http.StatusInternalServerError)
	problem(http.StatusMisdirectedRequest)
	if p.scope != "" {
		problem(http.StatusUnauthorized)
		problem(http.StatusTooManyRequests)    // by rate-limit, or after invalid keys
		problem(http.StatusServiceUnavailable) // where a key can't be verified
	}
	if p.scope != "" || op.Method != http.MethodGet {
		problem(http.StatusForbidden)
	}
	problem(http.StatusRequestEntityTooLarge) // an announced length is checked before the route is
	switch op.OperationID {
	case "page", "docs", "icon": // these take any query
	case "docs-asset":
		problem(http.StatusNotFound)
	default:
		problem(http.StatusBadRequest)
	}
	if op.RequestBody != nil {
		problem(http.StatusUnsupportedMediaType)
	}
	if op.Method == http.MethodPost { // while the server shuts down
		problem(http.StatusServiceUnavailable)
	}
	for status, response := range op.Responses {
		code, err := strconv.Atoi(status)
		if err != nil {
			continue
		}
		if response.Headers == nil {
			response.Headers = map[string]*huma.Header{}
		}
		names := slices.Concat([]string{"X-Request-ID", "X-Trace-ID"}, browserHeaders)
		switch code {
		case http.StatusUnauthorized:
			names = append(names, "WWW-Authenticate")
		case http.StatusRequestTimeout, http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
			names = append(names, "Retry-After")
		}
		for _, name := range names {
			response.Headers[name] = &huma.Header{Ref: headerPrefix + name}
		}
		delete(response.Headers, "Content-Type") // OpenAPI has it as the name of the content
		for _, header := range response.Headers {
			header.Required = header.Ref == "" && code < 300
		}
		if words := statusWords[code]; response.Content["application/problem+json"] != nil {
			response.Description = words
		}
	}
}

// examplePicture is a PNG of 16x16 pixels; any server scores it.
//
//go:embed example.png
var examplePicture []byte

// addExamples adds requests that can be sent as they are to a server with the
// demo checkpoints.
func addExamples(document *huma.OpenAPI) {
	const shared, own, id = "demo-shared", "demo", "prompt-contexts"
	parameters := map[string]any{"name": shared, "other": own, "id": id, "key": "abcdefgh2345"}
	for _, item := range document.Paths {
		for _, op := range operations(item) {
			for _, p := range op.Parameters {
				if value, known := parameters[p.Name]; known && p.In == "path" {
					p.Example = value
				}
			}
		}
	}
	example := func(path, contentType string, value any) {
		if item := document.Paths[path]; item != nil { // a server without experiments lacks some
			item.Post.RequestBody.Content[contentType].Example = value
		}
	}
	definitions := func(change func(contentType string, value any)) {
		change("application/json", map[string]any{
			"id": id, "hypothesis": "A context for each category agrees better with people.",
			"arms": []any{map[string]any{"checkpoint": shared}, map[string]any{"checkpoint": own}},
		})
		change("application/yaml", "id: "+id+"\n"+
			"hypothesis: A context for each category agrees better with people.\n"+
			"arms:\n  - checkpoint: "+shared+"\n  - checkpoint: "+own+"\n")
	}
	definitions(func(contentType string, value any) { example("/v1/experiments", contentType, value) })
	if item := document.Paths["/v1/experiments/{id}"]; item != nil {
		definitions(func(contentType string, value any) { item.Put.RequestBody.Content[contentType].Example = value })
	}
	document.Paths["/v1/encoder"].Put.RequestBody.Content["application/json"].Example = map[string]any{
		"digest": "sha256:" + strings.Repeat("0123456789abcdef", 4), "precision": "int8",
	}
	example("/v1/experiments/{id}/clone", "application/json", map[string]any{"id": id + "-again"})
	picture := map[string]any{"id": "a", "data": base64.StdEncoding.EncodeToString(examplePicture)}
	image := map[string]any{"images": []any{picture}}
	for _, path := range []string{"/v1/score", "/v1/compare", "/v1/preprocess"} {
		example(path, "application/json", image)
	}
	example("/v1/experiments/{id}/ramp", "application/json", map[string]any{"coverage": "25%"})
	example("/v1/experiments/{id}/promote", "application/json", map[string]any{
		"arm": own, "force": true, "reason": "to try the API",
	})
	example("/v1/keys", "application/json", map[string]any{
		"name": "shop", "scopes": []any{access.ScopeScore, access.ScopeRead}, "expires_in": "90d",
	})
	example("/v1/experiments/{id}/tasks", "application/json", map[string]any{"rater_id": "me", "count": 10})
	example("/v1/challenge", "application/json", map[string]any{
		"nonce": strings.Repeat("0123456789abcdef", 4), "address": "127.0.0.1:8080",
	})
	example("/v1/feedback", "application/json", map[string]any{
		"idempotency_key": "docs-1", "rater_id": "me", "kind": "mos", "value": 4,
		"image_sha256": quality.DigestOf(examplePicture).Hex(),
	})
}
