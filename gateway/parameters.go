package gateway

import (
	"fmt"
	"maps"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/quality"
)

// queryNames returns the query parameters of every operation in document, in
// order, by method and route in gin's notation ("GET /v1/checkpoints/:name").
func queryNames(document *huma.OpenAPI) map[string][]string {
	names := map[string][]string{}
	for path, item := range document.Paths {
		route := ginRoute(path)
		for method, op := range operations(item) {
			var known []string
			for _, p := range op.Parameters {
				if p.In == "query" {
					known = append(known, p.Name)
				}
			}
			slices.Sort(known)
			names[method+" "+route] = known
		}
	}
	return names
}

// ginRoute returns a path of OpenAPI in gin's notation.
func ginRoute(path string) string { return strings.NewReplacer("{", ":", "}", "").Replace(path) }

// operations returns the operations of one path by method.
func operations(item *huma.PathItem) map[string]*huma.Operation {
	all := map[string]*huma.Operation{
		http.MethodGet: item.Get, http.MethodHead: item.Head, http.MethodPost: item.Post,
		http.MethodPut: item.Put, http.MethodPatch: item.Patch, http.MethodDelete: item.Delete,
	}
	maps.DeleteFunc(all, func(_ string, op *huma.Operation) bool { return op == nil })
	return all
}

// rejectUnknownParameters rejects a query that net/http can't parse, of which it
// drops the rest silently, and parameters that the operation doesn't have. A
// route without an operation has none.
func (g *Gateway) rejectUnknownParameters(c *gin.Context) {
	if c.FullPath() == "" || c.Request.URL.RawQuery == "" {
		return
	}
	values, err := url.ParseQuery(c.Request.URL.RawQuery)
	if err != nil {
		abort(c, quality.Errorf(quality.KindBadRequest, "invalid query: %s", clip(err.Error(), 128)))
		return
	}
	known, documented := g.queries[c.Request.Method+" "+c.FullPath()]
	if !documented && c.Request.Method == http.MethodHead {
		known = g.queries[http.MethodGet+" "+c.FullPath()]
	}
	invalid := &InvalidRequest{Kind: quality.KindUnknownField}
	for _, name := range slices.Sorted(maps.Keys(values)) {
		if slices.Contains(known, name) || len(invalid.Fields) == maxFaults {
			continue
		}
		hint := suggestion(name, known)
		if len(invalid.Fields) == 0 {
			invalid.Detail = fmt.Sprintf("unknown query parameter %s; %s", quality.Quote(name), hint)
		}
		invalid.Fields = append(invalid.Fields,
			ProblemField{Location: "query." + clip(name, 64), Message: "unknown parameter; " + hint})
	}
	if len(invalid.Fields) > 0 {
		abort(c, invalid)
	}
}

// suggestion names the known one that an unknown name was likely meant to be, or lists
// them all.
func suggestion(name string, known []string) string {
	if len(known) == 0 {
		return "none is accepted here"
	}
	if len(name) <= 64 { // the distance takes time by the product of both lengths
		closest := slices.MinFunc(known, func(a, b string) int {
			return levenshtein.ComputeDistance(strings.ToLower(name), a) - levenshtein.ComputeDistance(strings.ToLower(name), b)
		})
		if levenshtein.ComputeDistance(strings.ToLower(name), closest) <= max(1, len(closest)/3) {
			return "did you mean " + closest + "?"
		}
	}
	return "known: " + strings.Join(known, ", ")
}

// parameters checks what huma does not: parameters and headers that come more
// than once, of which huma reads the first only, and empty ones, which it takes
// for absent. A list goes on with each repetition; anything else is refused.
func (g *Gateway) parameters(ctx huma.Context, next func(huma.Context)) {
	url := ctx.URL()
	query := url.Query()
	headers := map[string]int{}
	ctx.EachHeader(func(name, _ string) { headers[http.CanonicalHeaderKey(name)]++ })
	refuse := func(status int, location, format string, args ...any) {
		message := fmt.Sprintf(format, args...)
		_ = huma.WriteErr(g.api, ctx, status, message, &huma.ErrorDetail{Location: location, Message: message})
	}
	lists := map[string]string{}
	for _, p := range ctx.Operation().Parameters {
		if n := headers[http.CanonicalHeaderKey(p.Name)]; p.In == "header" && n > 1 {
			refuse(http.StatusBadRequest, "header."+p.Name, "the header %s takes one value and was given %d", p.Name, n)
			return
		}
		values := query[p.Name]
		if p.In != "query" || len(values) == 0 {
			continue
		}
		if len(values) > 1 && p.Schema.Type != huma.TypeArray {
			refuse(http.StatusBadRequest, "query."+p.Name, "the query parameter %s takes one value and was given %d", p.Name,
				len(values))
			return
		}
		list := strings.Join(values, ",")
		if len(splitNames(list)) == 0 {
			refuse(http.StatusBadRequest, "query."+p.Name, "the query parameter %s is empty; give it a value or leave it out",
				p.Name)
			return
		}
		if len(values) > 1 {
			lists[p.Name] = strings.Join(splitNames(list), ",")
		}
	}
	if n := headers["Content-Type"]; n > 1 {
		refuse(http.StatusUnsupportedMediaType, "header.Content-Type",
			"the header Content-Type takes one value and was given %d", n)
		return
	}
	if text := wrongBodyType(ctx.Operation(), ctx.Header("Content-Type")); text != "" {
		refuse(http.StatusUnsupportedMediaType, "header.Content-Type", "%s", text)
		return
	}
	ctx = huma.WithValue(ctx, bodiesKey{}, g.bodies)
	if len(lists) > 0 {
		ctx = joined{ctx, lists}
	}
	next(ctx)
}

// bodiesKey is the key of the request's [bodyReader] in its context, for
// [humaProblem].
type bodiesKey struct{}

// jsonSchema returns the schema of an operation's JSON body; nil: it has none.
func jsonSchema(op *huma.Operation) *huma.Schema {
	if op.RequestBody == nil || op.RequestBody.Content["application/json"] == nil {
		return nil
	}
	return op.RequestBody.Content["application/json"].Schema
}

// isUTF8 reports whether the parameters of a media type name no other encoding.
// RFC 8259 has none for JSON, and a body in another one would be misread.
func isUTF8(params map[string]string) bool {
	charset, ok := params["charset"]
	return !ok || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8") ||
		strings.EqualFold(charset, "us-ascii")
}

// wrongBodyType says what is wrong with the type of a body, and "" where nothing is.
// Without this, huma reads a body without a type as JSON, and an experiment's
// definition would be read as YAML. A web page may send such a body to another
// site without asking first. Images are recognised by their first bytes: who reads
// them looks at the type, too.
func wrongBodyType(op *huma.Operation, contentType string) string {
	if op.RequestBody == nil || op.RequestBody.Content["application/octet-stream"] != nil {
		return ""
	}
	types := slices.Sorted(maps.Keys(op.RequestBody.Content))
	mediaType, params, err := mime.ParseMediaType(contentType)
	if err == nil && slices.Contains(types, mediaType) && isUTF8(params) {
		return ""
	}
	return "send the body in UTF-8 with Content-Type: " + strings.Join(types, " or ")
}

// operation lets huma.Context, which has a method Context, be embedded.
type operation = huma.Context

// joined is a request whose lists are complete.
type joined struct {
	operation
	lists map[string]string
}

// Query implements [huma.Context].
func (j joined) Query(name string) string {
	if list, ok := j.lists[name]; ok {
		return list
	}
	return j.operation.Query(name)
}
