package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/access"
	"github.com/agiqa/agiqa/internal/ratelimit"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
)

// RateLimit bounds what each client may ask for, in tokens: see routeCosts.
type RateLimit struct {
	PerSecond float64 // 0: no limits
	Burst     int     // tokens at once
	Keys      int     // clients that are remembered; those that owe least are forgotten first
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

// routeCosts is what a request costs before it is read, in tokens, where that is
// not one: the routes that read weights or an experiment's records, or ask every
// inference server. It counts
// whatever the answer is, that a key is invalid too. A scoring request costs a token for each number that it asks for
// ([scoreTokens]); what
// that is beyond the first is charged once it was read.
var routeCosts = map[string]float64{
	"GET /v1/checkpoints/:name/diff/:other": 5,
	"POST /v1/checkpoints":                  5,
	"GET /v1/encoder":                       5,
	"PUT /v1/encoder":                       5,
	"GET /v1/experiments/:id":               5,
	"GET /v1/experiments/:id/report":        10,
	"GET /v1/experiments/:id/report.html":   10,
}

// routeCost is 0 for what anybody may ask for, probes and pages, and for what
// there isn't.
func routeCost(method, route string) float64 {
	if p, known := permitOf(method, route); !known || p == public {
		return 0
	}
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if cost, special := routeCosts[method+" "+route]; special {
		return cost
	}
	return 1
}

// scoreTokens is what scoring images by checkpoints costs: a token for each view
// of each image that a checkpoint scores.
func scoreTokens(request scoring.Request) float64 {
	views := 0
	for _, c := range request.Checkpoints {
		views += len(c.Views.List())
	}
	return float64(len(request.Items) * views)
}

// Refusals that a client gets at once. Those beyond it are held back, for
// refusalHeld at most, or a client that ignores Retry-After would have the server
// do nothing but refuse.
const (
	refusalsPerSecond = 50
	refusalHeld       = time.Second
)

// SharedTokens are token buckets that several gateways have in common, of the size
// that Config.RateLimit says. Take takes tokens of a client and returns 0, or
// takes none and returns how long it will be until there are enough; with owed it
// takes them in any case.
type SharedTokens interface {
	Take(ctx context.Context, client string, tokens float64, owed bool) (time.Duration, error)
}

// limits is what clients may ask for, and how fast they are told that they may
// not.
type limits struct {
	requests *ratelimit.Limiter // nil: no limits
	shared   SharedTokens       // nil: requests alone counts
	refusals *ratelimit.Limiter
	count    func(ctx context.Context, reason string)
}

func newLimits(cfg RateLimit, shared SharedTokens, count func(ctx context.Context, reason string)) *limits {
	l := &limits{shared: shared, count: count, refusals: ratelimit.New(ratelimit.Config{
		PerSecond: refusalsPerSecond, Burst: refusalsPerSecond, Keys: 10_000,
	}, time.Now)}
	if cfg.PerSecond > 0 {
		l.requests = ratelimit.New(ratelimit.Config{
			PerSecond: cfg.PerSecond, Burst: cfg.Burst, Keys: cfg.Keys,
		}, time.Now)
	}
	return l
}

// handle is the middleware. It stands before authorize, so that attempts with
// invalid keys count, for the address that they come from.
func (l *limits) handle(c *gin.Context) {
	if l.requests == nil {
		return
	}
	ctx := c.Request.Context()
	cost := routeCost(c.Request.Method, c.FullPath())
	if cost == 0 {
		return
	}
	if wait := l.take(ctx, cost, false); wait > 0 {
		l.count(ctx, "rate_limit")
		if c.Request.ContentLength != 0 {
			c.Header("Connection", "close") // the body is not read
		}
		err := quality.Errorf(quality.KindRateLimited, "too many requests from this client").After(wait)
		l.hold(ctx, err)
		abort(c, err)
	}
}

// take takes tokens from the client's bucket, as [SharedTokens] does: from the one
// that gateways share, or while that can't be had, from this gateway's own.
func (l *limits) take(ctx context.Context, tokens float64, owed bool) time.Duration {
	client := access.From(ctx).Client
	if l.shared != nil {
		if wait, err := l.shared.Take(ctx, client, tokens, owed); err == nil {
			return wait
		}
	}
	if owed {
		return l.requests.Charge(client, tokens)
	}
	return l.requests.TakeCost(client, tokens)
}

// charge takes what a request that was read costs beyond its first token. It
// refuses nothing: the client owes it, and its next requests wait.
func (l *limits) charge(ctx context.Context, tokens float64) {
	if l.requests != nil && tokens > 1 {
		l.take(ctx, tokens-1, true)
	}
}

// hold waits before a refusal is told to a client that has had many of late.
func (l *limits) hold(ctx context.Context, err error) {
	switch quality.KindOf(err) {
	case quality.KindOverloaded, quality.KindRateLimited:
	default:
		return
	}
	wait := min(l.refusals.Charge(access.From(ctx).Client, 1), refusalHeld)
	if wait == 0 {
		return
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}
