package gateway

import (
	_ "embed" // for page.html
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5emb"
)

//go:embed page.html
var pageHTML []byte

//go:embed favicon.ico
var icon []byte

// Both pages are whole: no script, font, style or picture comes from another
// host, and the browser is told to fetch none.
const (
	pagePolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; " +
		"img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	docsPagePolicy = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src " +
		"'self' data: blob:; " +
		"font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// registerPages adds the page, its icon, and Swagger UI.
func registerPages(engine *gin.Engine) {
	engine.GET("/", page)
	engine.GET("/favicon.ico", func(c *gin.Context) {
		c.Header("Cache-Control", "public, max-age=86400")
		c.Data(http.StatusOK, "image/x-icon", icon)
	})
	ui := v5emb.New("agiqa", "/openapi.json", "/docs/")
	docs := func(c *gin.Context) {
		policy(c, docsPagePolicy)
		w := &assetWriter{ResponseWriter: c.Writer}
		ui.ServeHTTP(w, c.Request)
		if w.missing {
			clear(c.Writer.Header())
			identify(c)
			abort(c, errNothingHere)
		}
	}
	engine.GET("/docs", docs)
	engine.GET("/docs/*asset", docs)
}

// assetWriter holds back the answer of Swagger UI's file server to a name that
// it doesn't know, which is no problem document.
type assetWriter struct {
	http.ResponseWriter
	missing bool
}

// WriteHeader implements [http.ResponseWriter].
func (w *assetWriter) WriteHeader(status int) {
	if w.missing = status == http.StatusNotFound; !w.missing {
		w.ResponseWriter.WriteHeader(status)
	}
}

// Write implements [io.Writer].
func (w *assetWriter) Write(p []byte) (int, error) {
	if w.missing {
		return len(p), nil
	}
	return w.ResponseWriter.Write(p)
}

// page is a form in one file.
func page(c *gin.Context) {
	policy(c, pagePolicy)
	c.Data(http.StatusOK, "text/html; charset=utf-8", pageHTML)
}

func policy(c *gin.Context, csp string) {
	c.Header("Content-Security-Policy", csp)
	c.Header("Referrer-Policy", "no-referrer")
	c.Header("X-Frame-Options", "DENY")
}
