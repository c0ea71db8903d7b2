package gateway

import (
	"bytes"
	"encoding/json"
	"net/http"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
)

// OpenAPI returns the OpenAPI 3.1 document as JSON, indented and ending with a
// newline, so that two versions of it can be compared line by line.
func (g *Gateway) OpenAPI() ([]byte, error) {
	compact, err := g.api.OpenAPI().MarshalJSON()
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

// describeRest adds to the document what huma cannot know: the routes that are
// not operations of it, and what the schemas leave open.
func describeRest(document *huma.OpenAPI) {
	schemas := document.Components.Schemas
	for _, item := range document.Paths {
		if item.Post != nil && item.Post.RequestBody != nil { // said in the document only: see scoreBody
			post, body := *item.Post, *item.Post.RequestBody
			body.Required, post.RequestBody = true, &body
			item.Post = &post
		}
		for _, op := range []*huma.Operation{item.Get, item.Delete} {
			if op != nil { // parameters that do not fit answer 400 here, and there is no image
				delete(op.Responses, "422")
			}
		}
	}
	readiness := &huma.MediaType{Schema: schemas.Schema(reflect.TypeFor[ReadinessReport](), true, "ReadinessReport")}
	asReadiness := map[string]*huma.MediaType{"application/json": readiness}
	document.AddOperation(&huma.Operation{
		OperationID: "readiness", Method: http.MethodGet, Path: "/readyz", Tags: []string{"Operation"},
		Summary: "Whether requests may be sent here",
		Responses: map[string]*huma.Response{
			"200": {Description: "Ready, or degraded", Content: asReadiness},
			"503": {Description: "Not ready, or draining", Content: asReadiness},
		},
	})
	document.AddOperation(&huma.Operation{
		OperationID: "liveness", Method: http.MethodGet, Path: "/healthz", Tags: []string{"Operation"},
		Summary: "Whether the process answers",
		Responses: map[string]*huma.Response{"200": {Description: "It does", Content: map[string]*huma.MediaType{
			"application/json": {Schema: &huma.Schema{Type: huma.TypeObject}},
		}}},
	})
	document.AddOperation(&huma.Operation{
		OperationID: "metrics", Method: http.MethodGet, Path: "/metrics", Tags: []string{"Operation"},
		Summary: "Metrics for Prometheus",
		Parameters: []*huma.Param{{
			Name: "name[]", In: "query", Description: "Only the metric of this name; may be repeated",
			Schema: &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{Type: huma.TypeString}},
		}},
		Responses: map[string]*huma.Response{"200": {Description: "In its text format or OpenMetrics", Content: map[string]*huma.MediaType{
			"text/plain": {Schema: &huma.Schema{Type: huma.TypeString}},
		}}},
	})
	correctSchemas(schemas)
}
