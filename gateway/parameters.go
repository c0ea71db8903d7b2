package gateway

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

// parameters takes query parameters that come more than once, of which huma
// reads the first only: a list goes on with each, and anything else is refused.
func (g *Gateway) parameters(ctx huma.Context, next func(huma.Context)) {
	url := ctx.URL()
	query := url.Query()
	lists := map[string]string{}
	for _, p := range ctx.Operation().Parameters {
		values := query[p.Name]
		if p.In != "query" || len(values) < 2 {
			continue
		}
		if p.Schema.Type != huma.TypeArray {
			message := fmt.Sprintf("the query parameter %s takes one value and was given %d", p.Name, len(values))
			_ = huma.WriteErr(g.api, ctx, http.StatusBadRequest, message, &huma.ErrorDetail{Location: "query." + p.Name, Message: message})
			return
		}
		values = slices.DeleteFunc(values, func(v string) bool { return v == "" })
		lists[p.Name] = strings.Join(values, ",")
	}
	if len(lists) > 0 {
		ctx = joined{ctx, lists}
	}
	next(ctx)
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
