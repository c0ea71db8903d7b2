package gateway

import (
	"net/http"
	"net/url"
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/internal/hostcheck"
	"github.com/agiqa/agiqa/quality"
)

// ownHosts are the hosts that a request may name. Pages of the origins in
// cors-origins may call in any case, so their hosts are as good as the server's own:
// there, a proxy may serve the API beside the page.
func ownHosts(cfg Config) hostcheck.Policy {
	p := hostcheck.Policy{Loopback: cfg.Loopback, Names: slices.Clone(cfg.AllowedHosts)}
	if !p.Loopback && len(p.Names) == 0 {
		return p // nothing is checked
	}
	for _, origin := range cfg.CORSOrigins {
		if u, err := url.Parse(origin); err == nil && u.Host != "" {
			p.Names = append(p.Names, u.Host)
		} else {
			p.Names = append(p.Names, origin)
		}
	}
	return p
}

// checkHost turns away a request that names another server.
func checkHost(own hostcheck.Policy) gin.HandlerFunc {
	return func(c *gin.Context) {
		if !own.Allows(c.Request) {
			abort(c, quality.Errorf(quality.KindMisdirected, "the request is for the host %s, which isn't a name of "+
				"this server; if it is, add it to the setting allowed-hosts", quality.Quote(clip(c.Request.Host, 128))))
		}
	}
}

// newWriteGuard refuses what pages of other origins send, unless they may call. nil:
// every page may.
func newWriteGuard(origins []string) (*http.CrossOriginProtection, error) {
	if slices.Contains(origins, "*") {
		return nil, nil
	}
	guard := http.NewCrossOriginProtection()
	for _, origin := range origins {
		if err := guard.AddTrustedOrigin(origin); err != nil {
			return nil, err
		}
	}
	return guard, nil
}

// checkOrigin turns away what a page of another origin sends, unless its origin may
// call. A browser asks before it sends most such requests, but not before all of
// them. GET, HEAD and OPTIONS change nothing, and pass.
func (g *Gateway) checkOrigin(c *gin.Context) {
	if g.writes == nil || g.writes.Check(c.Request) == nil {
		return
	}
	origin := "another origin"
	if from := c.GetHeader("Origin"); from != "" {
		origin = "the origin " + quality.Quote(clip(from, 128))
	}
	abort(c, quality.Errorf(quality.KindCrossOrigin,
		"a web page of %s sent this request; if it may call this server, add its origin to the setting cors-origins", origin))
}

// apiPolicy is for answers that aren't pages: whatever a browser takes one for, it
// loads and runs nothing.
const apiPolicy = "default-src 'none'; frame-ancestors 'none'"

// protect sets the headers by which a browser keeps an answer to itself. Pages and
// static files set others instead.
func protect(h http.Header) {
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", apiPolicy)
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Frame-Options", "DENY")
}
