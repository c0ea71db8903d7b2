package gateway

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/internal/ratelimit"
	"github.com/agiqa/agiqa/quality"
)

// Admitter decides, before the body of a request is read, whether to accept it.
type Admitter interface {
	Admit(ctx context.Context) error
}

// admission rejects scoring requests before their bodies are read: those of a
// client over its rate limit, those that the [Admitter] rejects, and all while
// memory is low. It counts the memory of bodies as they arrive.
type admission struct {
	admitter  Admitter
	pressure  func() bool        // whether memory is low; nil: not checked
	limiter   *ratelimit.Limiter // nil: no limits
	keyHeader string             // holds the client's key for the limiter
	bodies    *bodyMemory
	refusals  metric.Int64Counter
}

func newAdmission(cfg Config, deps Deps) (*admission, error) {
	a := &admission{admitter: deps.Admitter, pressure: deps.Pressure}
	if cfg.RateLimit.PerSecond > 0 {
		a.limiter = ratelimit.New(ratelimit.Config{
			PerSecond: cfg.RateLimit.PerSecond, Burst: cfg.RateLimit.Burst, Keys: cfg.RateLimit.Keys,
		}, time.Now)
		a.keyHeader = cfg.RateLimit.Header
	}
	budget := cfg.MaxBodyMemory
	if budget == 0 {
		budget = defaultBodyMemory
	}
	a.bodies = &bodyMemory{budget: max(budget, cfg.MaxBodyBytes)}
	meter := deps.Meter.Meter(scope)
	refusals, err1 := metrics.GatewayRefusals.New(meter)
	held, err2 := metrics.BodiesMemory.New(meter)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	a.refusals = refusals
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(held, a.bodies.held.Load())
		return nil
	}, held)
	return a, err
}

// defaultBodyMemory is room for thousands of common images.
const defaultBodyMemory = 512 << 20

// scores reports whether a request asks for scoring work.
func scores(r *http.Request) bool {
	if r.Method != http.MethodPost {
		return false
	}
	switch r.URL.Path {
	case "/v1/score", "/v1/compare", "/v1/preprocess":
		return true
	}
	return false
}

// handle is the middleware. It runs after budget has set the request's deadline.
func (a *admission) handle(c *gin.Context) {
	if !scores(c.Request) {
		c.Next()
		return
	}
	ctx := c.Request.Context()
	if reason, err := a.refuse(ctx, c.Request); err != nil {
		if reason != "" {
			a.countRefusal(ctx, reason)
		}
		abort(c, err)
		return
	}
	body := &countedBody{ReadCloser: c.Request.Body, memory: a.bodies}
	body.full = func() { a.countRefusal(ctx, "body_memory") }
	if w, ok := c.Request.Body.(*watchedBody); ok {
		body.ReadCloser, w.ReadCloser = w.ReadCloser, body // its faults are watched too
	} else {
		c.Request.Body = body
	}
	defer body.release()
	c.Next()
}

// refuse returns an error of kind rate_limited or overloaded, with the reason
// where this package is the one that counts it.
func (a *admission) refuse(ctx context.Context, r *http.Request) (reason string, err error) {
	if a.limiter != nil {
		if wait := a.limiter.Take(clientKey(r, a.keyHeader)); wait > 0 {
			return "rate_limit", quality.Errorf(quality.KindRateLimited, "too many requests from this client").After(wait)
		}
	}
	if a.pressure != nil && a.pressure() {
		return "memory", quality.Errorf(quality.KindOverloaded, "the server is low on memory").After(time.Second)
	}
	if !a.bodies.fits(r.ContentLength) {
		return "body_memory", errBodyMemory()
	}
	if a.admitter != nil {
		return "", a.admitter.Admit(ctx)
	}
	return "", nil
}

func (a *admission) countRefusal(ctx context.Context, reason string) {
	a.refusals.Add(ctx, 1, metric.WithAttributes(metrics.Reason(reason)))
}

func errBodyMemory() error {
	return quality.Errorf(quality.KindOverloaded, "too many request bodies are in memory").After(time.Second)
}

// bodyMemory bounds what all bodies together take.
type bodyMemory struct {
	budget int64
	held   atomic.Int64
}

// fits reports whether a body of n bytes would fit now. It reserves nothing: a
// client could announce bodies that it never sends.
func (m *bodyMemory) fits(n int64) bool { return m.held.Load()+max(0, n) <= m.budget }

func (m *bodyMemory) take(n int64) bool {
	if m.held.Add(n) > m.budget {
		m.held.Add(-n)
		return false
	}
	return true
}

// countedBody counts its bytes as they are read.
type countedBody struct {
	io.ReadCloser
	memory *bodyMemory
	held   int64
	full   func()
}

// Read implements [io.Reader].
func (b *countedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		if !b.memory.take(int64(n)) {
			b.full()
			return 0, errBodyMemory()
		}
		b.held += int64(n)
	}
	return n, err
}

func (b *countedBody) release() {
	b.memory.held.Add(-b.held)
	b.held = 0
}

// clientKey identifies a client to the limiter: by the key that it sends, or
// else by its address.
func clientKey(r *http.Request, header string) string {
	if key := r.Header.Get(header); key != "" {
		return "key " + key
	}
	if key := r.Header.Get("Authorization"); key != "" {
		return "key " + key
	}
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	return "from " + host
}

// validate reports every invalid field.
func (c RateLimit) validate() error {
	var faults []error
	if c.PerSecond < 0 {
		faults = append(faults, fmt.Errorf("gateway: RateLimit.PerSecond must not be negative, is %g", c.PerSecond))
	}
	if c.PerSecond > 0 && c.Burst < 1 {
		faults = append(faults, fmt.Errorf("gateway: RateLimit.Burst must be at least 1, is %d", c.Burst))
	}
	if c.PerSecond > 0 && c.Keys < 1 {
		faults = append(faults, fmt.Errorf("gateway: RateLimit.Keys must be at least 1, is %d", c.Keys))
	}
	return errors.Join(faults...)
}
