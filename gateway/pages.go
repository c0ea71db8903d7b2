package gateway

import (
	_ "embed" // for page.html
	"net/http"

	"github.com/gin-gonic/gin"
)

//go:embed page.html
var pageHTML []byte

// Both pages are whole: no script, font, style or picture comes from another
// host, and the browser is told to fetch none.
const (
	pagePolicy = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src blob: data:; " +
		"connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	docsPagePolicy = "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; " +
		"font-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

// page is a form in one file.
func page(c *gin.Context) {
	policy(c, pagePolicy)
	c.Data(http.StatusOK, "text/html; charset=utf-8", pageHTML)
}

// docsPolicy stands before Swagger UI, which brings its own files.
func docsPolicy(c *gin.Context) { policy(c, docsPagePolicy) }

func policy(c *gin.Context, csp string) {
	c.Header("Content-Security-Policy", csp)
	c.Header("Referrer-Policy", "no-referrer")
	c.Header("X-Frame-Options", "DENY")
}
