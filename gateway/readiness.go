package gateway

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/agiqa/agiqa/quality"
)

// Check is one thing that readiness depends on.
type Check struct {
	Name     string
	Critical bool // a failure makes the server unready; otherwise degraded
	Run      func(ctx context.Context) error
	Note     func() string // shown while the check passes; nil: nothing
}

// Readiness runs its checks at intervals and remembers the outcome, so that
// asking for it costs nothing and cannot be used to load what it checks.
type Readiness struct {
	current  func() []Check // every check of the moment: some come and go
	interval time.Duration
	timeout  time.Duration
	soon     chan struct{}

	mu      sync.Mutex
	state   map[string]error // absent: not run yet
	started bool             // the first round is over
}

// NewReadiness returns a Readiness that is red until [Readiness.Run] has made
// its first round.
func NewReadiness(interval, timeout time.Duration, checks ...Check) *Readiness {
	return NewChangingReadiness(interval, timeout, func() []Check { return checks })
}

// NewChangingReadiness is [NewReadiness] for checks that come and go: current is
// asked at every round and report.
func NewChangingReadiness(interval, timeout time.Duration, current func() []Check) *Readiness {
	return &Readiness{current: current, interval: interval, timeout: timeout, soon: make(chan struct{}, 1),
		state: map[string]error{}}
}

// Run makes a round of checks at once and then at every interval, until ctx
// ends. While something is wrong it looks ten times as often, so that recovery
// is seen soon.
func (r *Readiness) Run(ctx context.Context) {
	for {
		r.round(ctx)
		pause := r.interval
		if r.Report().Status != "ready" {
			pause /= 10
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-r.soon:
			timer.Stop()
		case <-ctx.Done():
			timer.Stop()
			return
		}
	}
}

// Soon asks for a round now, or after the one that is under way. It never blocks.
func (r *Readiness) Soon() {
	select {
	case r.soon <- struct{}{}:
	default:
	}
}

func (r *Readiness) round(ctx context.Context) {
	var wg sync.WaitGroup
	checks := r.current()
	for _, check := range checks {
		wg.Go(func() {
			cctx, cancel := context.WithTimeout(ctx, r.timeout)
			defer cancel()
			err := check.Run(cctx)
			if ctx.Err() != nil {
				return // stopping says nothing about the check
			}
			r.mu.Lock()
			defer r.mu.Unlock()
			r.state[check.Name] = err
		})
	}
	wg.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.started = r.started || ctx.Err() == nil
	for name := range r.state {
		if !slices.ContainsFunc(checks, func(c Check) bool { return c.Name == name }) {
			delete(r.state, name)
		}
	}
}

// ReadinessReport is the body of /readyz.
type ReadinessReport struct {
	Status string        `json:"status" enum:"ready,degraded,not_ready,draining"`
	Checks []CheckReport `json:"checks" nullable:"false"`
}

// CheckReport is the outcome of one check.
type CheckReport struct {
	Name     string `json:"name"`
	OK       bool   `json:"ok"`
	Critical bool   `json:"critical"`
	Detail   string `json:"detail,omitempty"`
}

// Report returns the outcome of the last round.
func (r *Readiness) Report() ReadinessReport {
	checks := r.current()
	r.mu.Lock()
	defer r.mu.Unlock()
	report := ReadinessReport{Status: "ready", Checks: []CheckReport{}}
	for _, check := range checks {
		err, ran := r.state[check.Name]
		if !ran && r.started {
			continue // it came since the last round, from somebody who has just seen it work
		}
		c := CheckReport{Name: check.Name, OK: ran && err == nil, Critical: check.Critical}
		switch {
		case !ran:
			c.Detail = "not checked yet"
		case err != nil:
			c.Detail = publicDetail(err)
		case check.Note != nil:
			c.Detail = check.Note()
		}
		if !c.OK && check.Critical {
			report.Status = "not_ready"
		} else if !c.OK && report.Status == "ready" {
			report.Status = "degraded"
		}
		report.Checks = append(report.Checks, c)
	}
	return report
}

// publicDetail shows what an error says to callers, and nothing of its cause.
func publicDetail(err error) string {
	if e, ok := errors.AsType[*quality.Error](err); ok {
		return e.Detail
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "no answer in time"
	}
	return "unavailable"
}

// Liveness is the body of /healthz.
type Liveness struct {
	Name    string `json:"name" enum:"agiqa"`
	Status  string `json:"status" enum:"ok"`
	Version string `json:"version"`
}

func (g *Gateway) healthz(c *gin.Context) {
	c.JSON(http.StatusOK, Liveness{Name: "agiqa", Status: "ok", Version: g.cfg.Version})
}

func (g *Gateway) readyz(c *gin.Context) {
	report := g.readiness.Report()
	if g.leaving.Load() {
		report.Status = "draining"
	}
	status := http.StatusOK
	if report.Status == "not_ready" || report.Status == "draining" {
		status = http.StatusServiceUnavailable
		c.Header("Retry-After", "1")
	}
	c.JSON(status, report)
}
