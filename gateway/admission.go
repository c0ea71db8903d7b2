package gateway

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/internal/metrics"
	"github.com/agiqa/agiqa/quality"
)

// Admitter decides, before the body of a request is read, whether to accept it.
type Admitter interface {
	Admit(ctx context.Context) error
}

// admission rejects scoring requests before their bodies are read: those that the
// [Admitter] rejects, and all while memory is low. It counts the memory of bodies
// as they arrive.
type admission struct {
	admitter  Admitter
	pressure  func() bool // whether memory is low; nil: not checked
	limits    *limits
	bodies    *bodyMemory
	bodyWait  time.Duration
	maxBody   int64
	maxBundle int64
	refusals  metric.Int64Counter
}

func newAdmission(cfg Config, deps Deps) (*admission, error) {
	a := &admission{admitter: deps.Admitter, pressure: deps.Pressure, bodyWait: cfg.BodyWait, maxBody: cfg.MaxBodyBytes,
		maxBundle: cfg.MaxBundleBytes}
	a.limits = newLimits(cfg.RateLimit, deps.Tokens, a.countRefusal)
	a.bodies = newBodyMemory(cfg.MaxBodyMemory, cfg.MaxBodyBytes, cfg.MaxImages)
	meter := deps.Meter.Meter(scope)
	refusals, err1 := metrics.GatewayRefusals.New(meter)
	held, err2 := metrics.BodiesMemory.New(meter)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	a.refusals = refusals
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(held, a.bodies.held())
		return nil
	}, held)
	return a, err
}

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
	ctx := c.Request.Context()
	account := &bodyAccount{memory: a.bodies, client: access.From(ctx).Client, ctx: ctx, patience: a.bodyWait}
	account.full = func() { a.countRefusal(ctx, "body_memory") }
	defer account.release()
	if scores(c.Request) {
		if reason, err := a.refuse(ctx, c.Request, account); err != nil {
			if reason != "" {
				a.countRefusal(ctx, reason)
			}
			a.limits.hold(ctx, err)
			abort(c, err)
			return
		}
	}
	limit := int64(0)
	switch {
	case scores(c.Request):
		limit = a.maxBody
	case c.Request.Method == http.MethodPost && c.FullPath() == "/v1/checkpoints":
		account.importing()
		limit = a.maxBundle
	default:
		if w, ok := c.Request.Body.(*watchedBody); ok { // its faults are watched too
			w.ReadCloser = &countedBody{ReadCloser: w.ReadCloser, account: account}
		}
		c.Next()
		return
	}
	body := &gatheredBody{ReadCloser: c.Request.Body, ids: idsOf(ctx), account: account,
		length: c.Request.ContentLength, limit: limit}
	idsOf(ctx).gathered = body
	c.Request.Body = body
	c.Next()
}

// refuse returns an error of kind overloaded, with the reason
// where this package is the one that counts it.
func (a *admission) refuse(
	ctx context.Context, r *http.Request, account *bodyAccount,
) (reason string, err error) {
	if a.pressure != nil && a.pressure() {
		return "memory", quality.Errorf(quality.KindOverloaded, "the server is low on memory").After(time.Second)
	}
	if a.admitter != nil {
		if err := a.admitter.Admit(ctx); err != nil {
			return "", err
		}
	}
	return "", account.await(r.ContentLength)
}

func (a *admission) countRefusal(ctx context.Context, reason string) {
	a.refusals.Add(ctx, 1, metric.WithAttributes(metrics.Reason(reason)))
}
