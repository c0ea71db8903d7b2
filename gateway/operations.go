package gateway

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/internal/hostcheck"
	"github.com/agiqa/agiqa/internal/metrics"
)

const (
	// operationTimeout is how long health and metrics may take.
	operationTimeout = 15 * time.Second
	// profileTimeout is how long a profile may take.
	profileTimeout = 5 * time.Minute
)

// Operations serves health, readiness, metrics and profiles, to whoever reaches
// it and whatever the API is busy with. It is for a listener of its own. loopback
// says that this one is on a loopback address; elsewhere, Prometheus may know it by
// any name.
func (g *Gateway) Operations(profiles http.Handler, loopback bool) http.Handler {
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash = false
	engine.Use(g.edge.handle, g.edge.recoverPanics)
	if loopback {
		engine.Use(checkHost(hostcheck.Policy{Loopback: true, Names: g.cfg.AllowedHosts}))
	}
	engine.NoRoute(func(c *gin.Context) { abort(c, errNothingHere) })
	engine.NoMethod(func(c *gin.Context) { abort(c, errMethod) })
	within := func(limit time.Duration, serve gin.HandlerFunc) gin.HandlerFunc {
		return func(c *gin.Context) {
			ctx, cancel := context.WithTimeout(c.Request.Context(), limit)
			defer cancel()
			c.Request = c.Request.WithContext(ctx)
			_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(limit)) // tests have none to set
			serve(c)
		}
	}
	for path, serve := range map[string]gin.HandlerFunc{
		"/healthz": g.healthz, "/readyz": g.readyz, "/metrics": gin.WrapH(g.metrics),
	} {
		engine.GET(path, within(operationTimeout, serve))
		engine.HEAD(path, within(operationTimeout, serve))
	}
	engine.GET("/debug/pprof/*profile", within(profileTimeout, gin.WrapH(profiles)))
	return engine
}

// ConnectionClient names whom a connection counts for, by the address of its
// other end. Those of a trusted proxy are of many clients, so that each counts
// by itself.
func (g *Gateway) ConnectionClient(remote net.Addr) string {
	peer, err := netip.ParseAddrPort(remote.String())
	if err != nil || within(plainAddress(peer.Addr()), g.cfg.TrustedProxies) {
		return remote.String()
	}
	return clientOf(plainAddress(peer.Addr()))
}

// ConnectionClosed counts a connection that was closed to make room.
func (g *Gateway) ConnectionClosed(reason string) {
	g.edge.closed.Add(context.Background(), 1, metric.WithAttributes(metrics.Reason(reason)))
}
