package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/rs/cors"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/internal/proof"
	"github.com/agiqa/agiqa/internal/version"
	"github.com/agiqa/agiqa/quality"
)

// Config bounds what a client may send and how long it may take.
type Config struct {
	Version        string        // of the program, in the answer to /healthz
	RequestTimeout time.Duration // budget of a request, its body included
	MaxBodyBytes   int64
	MaxImages      int // in one request
	MaxImageBytes  int64
	TrustedPeers   []netip.Prefix // callers whose traces are continued instead of linked
	TrustedProxies []netip.Prefix // peers whose X-Forwarded-For names the client
	MaxBodyMemory  int64          // of all bodies together; 0: 512 MiB
	MinBodyRate    int64          // bytes a second that a body has to bring; 0: any
	BodyWait       time.Duration  // how long a body waits for memory; 0: not at all
	RateLimit      RateLimit      // of each client
	CORSOrigins    []string       // whose pages may call, such as https://app.example; "*": all; empty: none
	Loopback       bool           // the listener is on a loopback address: requests have to name this machine
	AllowedHosts   []string       // further hosts that requests may name; see [hostcheck.Policy]

	OpenScoring    bool          // score images, and read checkpoints and metrics, without a key
	AdminKey       string        // the key that may do everything; "": there is none
	MaxBundleBytes int64         // body of an import; 0: 72 MiB
	ChangeTimeout  time.Duration // budget of an administrative request; 0: five minutes
}

// Validate reports every invalid field.
func (c Config) Validate() error {
	var faults []error
	for name, v := range map[string]int64{
		"RequestTimeout": int64(c.RequestTimeout), "MaxBodyBytes": c.MaxBodyBytes,
		"MaxImages": int64(c.MaxImages), "MaxImageBytes": c.MaxImageBytes,
	} {
		if v <= 0 {
			faults = append(faults, fmt.Errorf("gateway: %s must be positive, is %d", name, v))
		}
	}
	faults = append(faults, c.RateLimit.validate())
	if c.MaxBodyMemory < 0 || c.MinBodyRate < 0 || c.BodyWait < 0 {
		faults = append(faults, fmt.Errorf("gateway: MaxBodyMemory, MinBodyRate and BodyWait must not be negative, are "+
			"%d, %d and %s", c.MaxBodyMemory, c.MinBodyRate, c.BodyWait))
	}
	if c.MaxBundleBytes < 0 || c.ChangeTimeout < 0 {
		faults = append(faults, fmt.Errorf("gateway: MaxBundleBytes and ChangeTimeout must not be negative, are %d and %s",
			c.MaxBundleBytes, c.ChangeTimeout))
	}
	return errors.Join(faults...)
}

// Deps are the collaborators of a Gateway.
type Deps struct {
	Scorer      Scorer
	Checkpoints Checkpoints
	Changes     CheckpointChanges
	Experiments Experiments // nil: there are none, and no routes
	Keys        Keys        // nil: there are none but Config.AdminKey, and no routes
	Readiness   *Readiness
	Admitter    Admitter     // asked before bodies are read; nil: all are accepted
	Pressure    func() bool  // whether memory is low; nil: not checked
	Tokens      SharedTokens // nil: every gateway limits clients by itself
	Metrics     http.Handler // GET /metrics
	Tracer      trace.TracerProvider
	Meter       metric.MeterProvider
	Logger      *slog.Logger
}

// Gateway is the HTTP API. Its handler is safe for concurrent use.
type Gateway struct {
	cfg         Config
	scorer      Scorer
	checkpoints Checkpoints
	changes     CheckpointChanges
	experiments Experiments
	keys        Keys
	guard       *guard
	readiness   *Readiness
	bodies      *bodyReader
	edge        *edge
	measures    *measures
	limits      *limits
	metrics     http.Handler
	work        context.Context         // every request's ends with it: see Interrupt
	interrupt   context.CancelCauseFunc // of work
	leaving     *atomic.Bool            // draining is soon to follow
	draining    atomic.Bool
	engine      *gin.Engine
	api         huma.API
	document    func() ([]byte, error)      // of api, in JSON; written once
	queries     map[string][]string         // see queryNames
	cors        *cors.Cors                  // nil: pages of other origins may not call
	writes      *http.CrossOriginProtection // nil: pages of every origin may write
	proofKey    func() (proof.Key, error)   // derived at the first challenge
}

// humaErrors makes huma report its own faults as our problems, and take names in
// their exact case only. huma keeps both in variables of its package; all gateways
// share the same ones.
var humaErrors sync.Once

// New builds the routes.
func New(cfg Config, deps Deps) (*Gateway, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if cfg.MaxBundleBytes == 0 {
		cfg.MaxBundleBytes = defaultBundleBytes
	}
	if cfg.ChangeTimeout == 0 {
		cfg.ChangeTimeout = defaultChangeTimeout
	}
	edge, err := newEdge(deps.Tracer, deps.Meter, deps.Logger, cfg.TrustedPeers)
	if err != nil {
		return nil, err
	}
	admission, err := newAdmission(cfg, deps)
	if err != nil {
		return nil, err
	}
	measures, err := newMeasures(deps.Meter.Meter(scope), deps.Readiness)
	if err != nil {
		return nil, err
	}
	guard, err := newGuard(cfg.AdminKey, deps.Keys, deps.Meter.Meter(scope))
	if err != nil {
		return nil, err
	}
	humaErrors.Do(func() {
		huma.ValidateStrictCasing = true
		huma.NewErrorWithContext = humaProblem
		huma.NewError = func(status int, message string, errs ...error) huma.StatusError {
			return &Problem{Status: status, Title: http.StatusText(status), Detail: message} // the documented shape
		}
	})
	gin.SetMode(gin.ReleaseMode)
	engine := gin.New()
	engine.HandleMethodNotAllowed = true
	engine.RedirectTrailingSlash = false
	engine.UseRawPath = true // an escaped slash is part of a name, not of a route
	engine.ContextWithFallback = false
	g := &Gateway{cfg: cfg, scorer: deps.Scorer, checkpoints: deps.Checkpoints, changes: deps.Changes,
		experiments: deps.Experiments, keys: deps.Keys, guard: guard, readiness: deps.Readiness, edge: edge,
		measures: measures, limits: admission.limits, metrics: deps.Metrics, engine: engine, leaving: &edge.leaving}
	g.work, g.interrupt = context.WithCancelCause(context.Background())
	g.proofKey = sync.OnceValues(func() (proof.Key, error) { return proof.Derive(cfg.AdminKey) })
	if g.writes, err = newWriteGuard(cfg.CORSOrigins); err != nil {
		return nil, fmt.Errorf("gateway: CORSOrigins: %w", err)
	}
	engine.Use(edge.handle, edge.recoverPanics, g.identifyCaller, checkHost(ownHosts(cfg)), g.crossOrigin, g.checkOrigin,
		admission.limits.handle, g.authorize, g.budget, admission.handle)
	if err := registerPages(engine); err != nil { // before rejectUnknownParameters: links to them may carry any query
		return nil, err
	}
	engine.Use(g.rejectUnknownParameters)
	engine.NoRoute(func(c *gin.Context) {
		if err := g.errNotRun(c.Request.URL.Path); err != nil {
			abort(c, err)
			return
		}
		abort(c, errNothingHere)
	})
	engine.NoMethod(func(c *gin.Context) {
		abort(c, errMethod)
	})

	// The document is the same for every build of a release, so it names no commit.
	hcfg := huma.DefaultConfig("agiqa", version.Number)
	hcfg.Info.Description = "Scores AI-generated images with CLIP-AGIQA."
	hcfg.OpenAPIPath, hcfg.DocsPath, hcfg.SchemasPath = "", "", "" // see serveOpenAPI
	hcfg.CreateHooks = nil                                         // no $schema members in answers
	hcfg.Components.Schemas = newSchemas()
	text := newJSONText(cfg.MaxImages)
	hcfg.Formats = map[string]huma.Format{"application/json": text.format(), "json": text.format()}
	g.api = humagin.New(engine, hcfg)
	g.api.UseMiddleware(g.parameters)
	registry := g.api.OpenAPI().Components.Schemas
	g.bodies = newBodyReader(cfg.MaxImages, cfg.MaxImageBytes, registry)
	g.registerScoring(g.api)
	g.registerPreprocess(g.api)
	g.registerChallenge(g.api)
	g.registerCheckpoints(g.api)
	g.registerChanges(g.api)
	g.registerEncoders(g.api)
	if g.experiments != nil {
		g.registerExperiments(g.api)
	}
	if g.keys != nil {
		g.registerKeys(g.api)
	}
	describeRest(g.api.OpenAPI())

	engine.GET("/healthz", g.healthz)
	engine.GET("/readyz", g.readyz)
	engine.GET("/metrics", gin.WrapH(deps.Metrics))
	g.document = sync.OnceValues(g.api.OpenAPI().MarshalJSON)
	g.serveOpenAPI()
	if err := checkPermits(engine.Routes()); err != nil {
		return nil, err
	}
	g.queries = queryNames(g.api.OpenAPI())
	if len(cfg.CORSOrigins) > 0 {
		g.cors = newCORS(cfg.CORSOrigins, g.api.OpenAPI())
	}
	for _, route := range engine.Routes() { // net/http leaves out the bodies
		if route.Method == http.MethodGet {
			engine.HEAD(route.Path, route.HandlerFunc)
		}
	}
	return g, nil
}

var (
	errNothingHere = quality.Errorf(quality.KindNotFound, "no such route; see /docs")
	errMethod      = quality.Errorf(quality.KindMethodNotAllowed, "this route does not support the method; see /docs")
)

// Handler serves the API.
func (g *Gateway) Handler() http.Handler { return g.engine }

// Leave makes /readyz red and lets every connection end with its next answer.
// Work is still taken: whoever sends it has not seen yet that /readyz is red.
func (g *Gateway) Leave() { g.leaving.Store(true) }

// Drain does what Leave does and turns new scoring work away; what was accepted
// goes on.
func (g *Gateway) Drain() { g.leaving.Store(true); g.draining.Store(true) }

// Interrupt cancels the requests that are still under way, draining being the
// cause, and each is answered so. It works on the requests of a server that
// [Gateway.Watch] watches.
func (g *Gateway) Interrupt() { g.interrupt(errDraining) }

var errDraining = quality.Errorf(quality.KindDraining, "this server is shutting down; retry on another one").
	After(time.Second)

// budget gives a request its deadline, and refuses work while draining.
func (g *Gateway) budget(c *gin.Context) {
	if g.leaving.Load() {
		c.Header("Connection", "close")
	}
	if g.draining.Load() && c.Request.Method == http.MethodPost {
		abort(c, errDraining)
		return
	}
	limit, timeout := g.cfg.MaxBodyBytes, g.cfg.RequestTimeout
	if administrative(c) {
		limit, timeout = g.cfg.MaxBundleBytes, g.cfg.ChangeTimeout
		// The server's own bound is that of scoring. Writers that know no
		// deadline, as in tests, have none to lift.
		_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(timeout + 10*time.Second))
	}
	if c.Request.ContentLength > limit { // before a byte of it is read
		abort(c, bodyTooLarge(limit))
		return
	}
	ctx, cancel := context.WithTimeout(c.Request.Context(), timeout)
	defer cancel()
	c.Request = c.Request.WithContext(ctx)
	idsOf(ctx).body.end = time.Now().Add(timeout + bodyOvertime)
	idsOf(ctx).body.rate = g.cfg.MinBodyRate
	body := &watchedBody{ReadCloser: c.Request.Body, ctx: ctx, stages: g.edge.stages, ids: idsOf(ctx)}
	c.Request.Body = body
	defer body.done(nil) // where it was not read to its end
	c.Next()
}
