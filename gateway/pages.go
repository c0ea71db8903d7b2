package gateway

import (
	"bytes"
	"crypto/sha256"
	_ "embed" // for page.html
	"encoding/base64"
	"fmt"
	"net/http"
	"regexp"
	"strings"

	"github.com/gin-gonic/gin"
	"github.com/swaggest/swgui/v5emb"
)

//go:embed page.html
var pageHTML []byte

//go:embed favicon.ico
var icon []byte

// docsPath is where the page of Swagger UI is, and below it what it loads.
const docsPath = "/docs"

// registerPages adds the page, its icon, and Swagger UI.
func registerPages(engine *gin.Engine) error {
	engine.GET("/", servePage(pageHTML))
	engine.GET("/favicon.ico", func(c *gin.Context) {
		c.Header("Cache-Control", "public, max-age=86400")
		c.Data(http.StatusOK, "image/x-icon", icon)
	})
	ui := v5emb.New("agiqa", "/openapi.json", docsPath+"/")
	index, err := render(ui, docsPath)
	if err != nil {
		return err
	}
	docs := servePage(index)
	engine.GET(docsPath, docs)
	engine.GET(docsPath+"/*asset", func(c *gin.Context) {
		if c.Param("asset") == "/" {
			docs(c)
			return
		}
		c.Header("Cache-Control", "no-cache") // kept, and asked about by its tag
		w := &assetWriter{ResponseWriter: c.Writer}
		ui.ServeHTTP(w, c.Request)
		if w.missing {
			clear(c.Writer.Header())
			identify(c)
			abort(c, errNothingHere)
		}
	})
	return nil
}

// servePage serves a page under a policy that fits it.
func servePage(html []byte) gin.HandlerFunc {
	policy := pagePolicy(html)
	return func(c *gin.Context) {
		c.Header("Content-Security-Policy", policy)
		c.Data(http.StatusOK, "text/html; charset=utf-8", html)
	}
}

// pagePolicy allows a page what is in it and on this server: no script, font, style
// or picture of another host, and of scripts and styles in the page those that
// were there when it was built.
func pagePolicy(html []byte) string {
	return "default-src 'none'; script-src 'self'" + hashes(html, "script") +
		"; style-src 'self'" + hashes(html, "style") +
		"; img-src 'self' blob: data:; font-src 'self' data:; connect-src 'self'" +
		"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
}

// hashes are sources for the elements of one name that have their content in a
// page.
func hashes(html []byte, element string) string {
	var sources strings.Builder
	for _, m := range regexp.MustCompile(`(?s)<`+element+`>(.*?)</`+element+`>`).FindAllSubmatch(html, -1) {
		sum := sha256.Sum256(m[1])
		sources.WriteString(" 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "'")
	}
	return sources.String()
}

// render returns what a handler answers to GET path.
func render(h http.Handler, path string) ([]byte, error) {
	req, err := http.NewRequest(http.MethodGet, path, nil)
	if err != nil {
		return nil, err
	}
	w := &rendering{header: http.Header{}, status: http.StatusOK}
	h.ServeHTTP(w, req)
	if w.status != http.StatusOK {
		return nil, fmt.Errorf("the page of %s has status %d", path, w.status)
	}
	return w.body.Bytes(), nil
}

// rendering is an answer in memory.
type rendering struct {
	header http.Header
	status int
	body   bytes.Buffer
}

// Header implements [http.ResponseWriter].
func (r *rendering) Header() http.Header { return r.header }

// WriteHeader implements [http.ResponseWriter].
func (r *rendering) WriteHeader(status int) { r.status = status }

// Write implements [io.Writer].
func (r *rendering) Write(p []byte) (int, error) { return r.body.Write(p) }

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
