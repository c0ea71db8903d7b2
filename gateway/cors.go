package gateway

import (
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"
	"github.com/rs/cors"
)

// preflightAge is how long a browser may keep the answer to a preflight.
const preflightAge = 10 * time.Minute

// newCORS lets pages of the given origins call the operations in document, with
// every header that an operation has. There are no cookies here, so a page gets
// no rights from its user's browser: credentials are never allowed.
func newCORS(origins []string, document *huma.OpenAPI) *cors.Cors {
	headers := []string{"Authorization", KeyHeader, "Content-Type", "Traceparent", "Tracestate", "X-Request-ID"}
	methods := []string{http.MethodHead} // wherever GET is
	for _, item := range document.Paths {
		for method, op := range operations(item) {
			methods = append(methods, method)
			for _, p := range op.Parameters {
				if p.In == "header" {
					headers = append(headers, p.Name)
				}
			}
		}
	}
	slices.Sort(methods)
	return cors.New(cors.Options{
		AllowedOrigins: origins,
		AllowedMethods: slices.Compact(methods),
		AllowedHeaders: headers,
		ExposedHeaders: []string{"Retry-After", "X-Decoder", "X-Preprocess", "X-Request-ID", "X-Trace-ID"},
		MaxAge:         int(preflightAge.Seconds()),
	})
}

// crossOrigin answers preflights and marks the answers that a page of another
// origin may read. Without Config.CORSOrigins it does nothing.
func (g *Gateway) crossOrigin(c *gin.Context) {
	if g.cors == nil {
		return
	}
	g.cors.HandlerFunc(c.Writer, c.Request)
	if c.Request.Method == http.MethodOptions && c.GetHeader("Access-Control-Request-Method") != "" {
		c.Abort()
		c.Writer.WriteHeaderNow()
	}
}
