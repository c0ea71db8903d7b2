package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc/filters"
	"go.opentelemetry.io/otel/metric"
	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/checkpoint/desired"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/embedded"
	"github.com/agiqa/agiqa/experiment/sqlstore"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/internal/tlsfiles"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/telemetry"
	"github.com/agiqa/agiqa/tritonclient"
)

// Config says what a [Server] is made of.
type Config struct {
	Settings config.Settings
	Version  string       // of the program: in telemetry and the answer to /healthz
	Logger   *slog.Logger // see [NewLogger]
	// Embedded starts a Triton as a supervised child. Without it the setting
	// triton names those that run elsewhere.
	Embedded bool
	// Ephemeral is for an embedded server that lives as long as one command,
	// perhaps beside another one that owns the data folder: it has the same
	// checkpoints and changes none, and runs no experiments.
	Ephemeral bool
	Environ   []string // of an embedded Triton
	// Models says why the model repository of the settings is served; /readyz
	// shows it.
	Models string
}

// Server is the whole service: the gateway, what stands behind it, and an
// embedded Triton where one was asked for. [New] makes it, [Server.Run] works
// until its context ends and closes it; [Server.Close] is for one that was
// never run.
type Server struct {
	settings    config.Settings
	dir         string // locked; the data folder unless the server is ephemeral
	version     string
	logger      *slog.Logger
	listener    net.Listener
	certificate *tlsfiles.Files // nil: plain HTTP
	reloads     metric.Int64Counter
	reload      chan struct{}    // holds one: the certificate is to be read again
	child       *embedded.Server // nil: Tritons run elsewhere
	restarted   chan struct{}    // the child is ready, perhaps again
	store       *sqlstore.Store  // nil: none, or it can't be opened
	desired     desired.Store
	library     *lifecycle.Library
	preparer    *imageprep.Preparer
	service     *scoring.Service
	manager     *lifecycle.Manager
	panels      panels
	follower    follower
	experiments experiments
	readiness   *gateway.Readiness
	gateway     *gateway.Gateway
	http        *http.Server
	faults      []startFault
	closers     []closer // the last is closed first
}

// panels keeps the models that compute several heads in one call.
type panels interface {
	scoring.Panels
	Run(ctx context.Context)
	Wake()
}

// noPanels asks for heads one by one: an ephemeral server answers a request or
// two, and panels would cost it more than they save.
type noPanels struct{}

func (noPanels) Cover([]quality.Checkpoint) (quality.Panel, bool) { return quality.Panel{}, false }
func (noPanels) Failed(quality.Panel, error)                      {}
func (noPanels) Run(context.Context)                              {}
func (noPanels) Wake()                                            {}

// New locks the data folder, takes the port, starts an embedded Triton where one
// is wanted, and wires everything. It returns before the server is ready: models may still be
// loading. On an error everything is closed again.
func New(ctx context.Context, cfg Config) (*Server, error) {
	if err := checkShutdown(cfg.Settings); err != nil {
		return nil, err
	}
	dir, release, unwritable, err := cfg.lockFolder()
	if err != nil {
		return nil, err
	}
	s := &Server{
		settings: cfg.Settings, dir: dir, version: cfg.Version, logger: cfg.Logger, restarted: make(chan struct{}, 1),
		reload: make(chan struct{}, 1),
	}
	s.onClose("the lock of the data folder", endMark, func(context.Context) error { return release() })
	if unwritable != nil {
		s.degrade(startFault{check: "data-folder", detail: "the data folder can't be written (" + diskFault(unwritable) +
			"): checkpoints and the default can't be changed, and nothing is recorded"}, unwritable)
	}
	if err := s.keepTraces(cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.build(ctx, cfg); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// build wires everything, bottom up: each part is given what it needs when it
// is made.
func (s *Server) build(ctx context.Context, cfg Config) (err error) {
	if err := s.loadCertificate(); err != nil {
		return err
	}
	if s.listener, err = Listen("listen", s.settings.Listen); err != nil {
		return err
	}
	s.onClose("the listener", endMark, func(context.Context) error {
		if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	tel, err := s.newTelemetry(ctx) // first, and so closed after everything that has spans
	if err != nil {
		return err
	}
	if err := s.openStore(ctx, cfg); err != nil {
		return err
	}
	top, err := s.newTopology(ctx, cfg)
	if err != nil {
		return err
	}
	s.library = top.library
	s.degradeCheckpoints()
	triton, err := s.newTriton(top, tel)
	if err != nil {
		return err
	}
	limit := planMemory(s.settings, s.logger)
	if s.preparer, err = NewPreparer(s.settings); err != nil {
		return err
	}
	s.service, err = scoring.New(scoringConfig(s.settings), scoring.Deps{
		Preparer: s.preparer, Triton: triton, Tracer: tel.Tracer(), Meter: tel.Meter(),
	})
	if err != nil {
		return err
	}
	redis, err := s.newRedis(tel)
	if err != nil {
		return err
	}
	caches, err := s.newCaches(tel, redis, scoring.PromptEncoder{Assembler: s.library, Encoder: triton})
	if err != nil {
		return err
	}
	servers := tritonmodels.NewServers(triton, s.service.Encoder, top.folder == nil)
	if s.panels, err = s.newPanels(top, servers, caches); err != nil {
		return err
	}
	if s.manager, err = s.newManager(top, servers, caches); err != nil {
		return err
	}
	s.follower = follower{triton: triton, caches: caches, library: s.library, service: s.service,
		panels: s.panels, manager: s.manager, logger: s.logger, state: &inUse{}}
	meter := tel.Meter().Meter("github.com/agiqa/agiqa/server")
	if err := errors.Join(s.follower.measure(meter), s.measureState(meter)); err != nil {
		return err
	}
	if s.experiments, err = s.newExperiments(ctx, top, tel); err != nil {
		return err
	}
	return s.buildGateway(tel, redis, checks{
		follower: s.follower, readiness: lifecycle.NewReadiness(triton, caches),
		redis: redis, preparing: selfTestCheck(s.preparer), models: cfg.Models, store: s.store,
		faults: faultChecks(s.faults),
	}, memoryPressure(s.settings.MemoryWatermark, limit))
}

func (s *Server) newPanels(top topology, servers *tritonmodels.Servers, caches *cache.ByEncoder) (panels, error) {
	if top.ephemeral {
		return noPanels{}, nil
	}
	cfg := lifecycle.DefaultPanelConfig()
	cfg.Recipe, cfg.Tolerance = scoring.PromptRecipe, s.settings.GoldenTolerance
	cfg.Grace = s.settings.RequestTimeout + time.Second
	return lifecycle.NewPanels(cfg, lifecycle.PanelDeps{
		Library: s.library, Texts: caches, Logger: s.logger,
		Servers: tritonmodels.PanelServers{Servers: servers}, Folder: top.folder,
	})
}

func (s *Server) newManager(top topology, servers *tritonmodels.Servers,
	caches *cache.ByEncoder) (*lifecycle.Manager, error) {
	if !top.ephemeral {
		if err := s.library.Clean(); err != nil { // it takes space, no more
			s.logger.Warn("what interrupted changes left can't be deleted", "error", err)
		}
	}
	cfg := lifecycle.DefaultConfig()
	cfg.Tolerance = s.settings.GoldenTolerance
	return lifecycle.NewManager(cfg, lifecycle.Deps{
		Library: s.library, Store: s.desired, Group: s.group(top), Texts: caches, Logger: s.logger, Servers: servers,
		Folder: top.folder, Changed: func() {
			s.panels.Wake()
			s.readiness.Soon() // another encoder may have been chosen
		},
	})
}

func scoringConfig(s config.Settings) scoring.Config {
	cfg := scoring.DefaultConfig()
	if s.Concurrency > 0 {
		cfg.Concurrency = s.Concurrency
	}
	cfg.Queue, cfg.QueueWait = s.Queue, s.QueueWait
	if cfg.MaxRows = s.MaxRows; cfg.MaxRows == 0 {
		cfg.MaxRows = 8 * s.MaxImages
	}
	if s.Batching != "triton" {
		cfg.Batch = scoring.DefaultBatchConfig()
		cfg.Batch.Max, cfg.Batch.Wait = s.BatchMax, s.BatchWait
	}
	return cfg
}

func (s *Server) newTelemetry(ctx context.Context) (*telemetry.Telemetry, error) {
	cfg := telemetry.DefaultConfig()
	cfg.Endpoint = s.settings.OTLPEndpoint
	cfg.ServiceVersion = s.version
	cfg.QueueSize = s.settings.TraceQueue
	cfg.SampleRatio = s.settings.TraceRatio
	cfg.Logger = s.logger
	tel, err := telemetry.New(ctx, cfg, nil)
	if err != nil {
		return nil, err
	}
	s.onClose("telemetry", flushMark, tel.Close)
	return tel, errors.Join(watchDisk(tel.Meter(), s.settings.DataDir), s.measureCertificate(tel.Meter()))
}

func (s *Server) newTriton(top topology, tel *telemetry.Telemetry) (*tritonclient.Client, error) {
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses, cfg.TLS, cfg.ControlKey = top.addresses, top.access.tls, top.access.key
	cfg.RequestTimeout = s.settings.RequestTimeout
	cfg.Connections, cfg.Meter, cfg.Logger = s.settings.TritonConnections, tel.Meter(), s.logger
	// Admission bounds requests; one of them asks at most eight heads at once.
	// Readiness must find room beside them.
	cfg.MaxInFlight = max(cfg.MaxInFlight, 8*scoringConfig(s.settings).Concurrency+16)
	cfg.DialOptions = []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(tel.Tracer()),
		otelgrpc.WithMeterProvider(tel.Meter()),
		// Asked with every inference, in between for many at once.
		otelgrpc.WithFilter(filters.Not(filters.MethodName("ModelConfig"))),
		otelgrpc.WithPropagators(telemetry.SampledOnly())))}
	client, err := tritonclient.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("setting triton: %w", err)
	}
	s.onClose("the connections to Triton", stopMark, func(context.Context) error { return hangUp(client) })
	return client, nil
}

// newRedis returns nil where the settings name none.
func (s *Server) newRedis(tel *telemetry.Telemetry) (*cache.Redis, error) {
	if s.settings.RedisURL == "" {
		return nil, nil
	}
	cfg, err := RedisConfig(s.settings)
	if err != nil {
		return nil, err
	}
	cfg.Logger, cfg.Tracer, cfg.Meter = s.logger, tel.Tracer(), tel.Meter()
	redis, err := cache.NewRedis(cfg)
	if err != nil {
		return nil, fmt.Errorf("setting redis-url: %w", err)
	}
	s.onClose("the connections to Redis", stopMark, func(context.Context) error { return redis.Close() })
	return redis, nil
}

// newCaches makes the stores, which outlive any encoder, and what makes caches
// of one encoder over them.
func (s *Server) newCaches(tel *telemetry.Telemetry, redis *cache.Redis,
	source cache.PromptEmbedder) (*cache.ByEncoder, error) {
	memory, err := s.newMemory(tel, "text", 16<<20) // hundreds of checkpoints
	if err != nil {
		return nil, err
	}
	texts := cache.DefaultTextsConfig()
	texts.Recipe, texts.Memory, texts.TTL = scoring.PromptRecipe, memory, s.settings.TextTTL
	texts.Logger, texts.Meter = s.logger, tel.Meter()
	if redis != nil {
		if texts.Keys, err = s.cacheKeys(); err != nil {
			return nil, err
		}
		texts.Remote = redis
	}
	var images *cache.ImagesConfig
	if s.settings.ImageCacheBytes > 0 {
		cfg := cache.DefaultImagesConfig()
		if cfg.Store, err = s.newMemory(tel, "image", int64(s.settings.ImageCacheBytes)); err != nil {
			return nil, err
		}
		cfg.TTL, cfg.Logger, cfg.Meter = s.settings.ImageTTL, s.logger, tel.Meter()
		if redis != nil && s.settings.ImageRedis {
			cfg.Remote, cfg.RemoteTTL, cfg.Keys = redis, s.settings.ImageRedisTTL, texts.Keys
		}
		images = &cfg
	}
	caches := cache.NewByEncoder(texts, images, source)
	s.onClose("the caches", stopMark, func(ctx context.Context) error {
		s.service.Use(nil)
		if err := caches.Close(ctx); err != nil {
			s.logger.Warn("the caches did not end in time", "error", err)
		}
		return nil
	})
	return caches, nil
}

// newMemory makes a cache in memory that closes with the server.
func (s *Server) newMemory(tel *telemetry.Telemetry, name string, budget int64) (*cache.Memory, error) {
	cfg := cache.DefaultMemoryConfig()
	cfg.BudgetBytes = budget
	memory, err := cache.NewMemory(cfg)
	if err != nil {
		return nil, err
	}
	s.onClose("a cache", stopMark, func(context.Context) error { return memory.Close() })
	_, err = cache.ObserveMemory(tel.Meter(), name, memory)
	return memory, err
}

func (s *Server) buildGateway(
	tel *telemetry.Telemetry, redis *cache.Redis, c checks, pressure func() bool,
) (err error) {
	s.readiness = gateway.NewChangingReadiness(time.Second, 3*time.Second, c.current)
	deps := gateway.Deps{
		Admitter: s.service, Pressure: pressure,
		Scorer: s.experiments.scorer, Experiments: s.experiments.gateway(), Keys: s.experiments.apiKeys(),
		Checkpoints: s.library, Changes: s.manager,
		Readiness: s.readiness, Metrics: tel.MetricsHandler(),
		Tracer: tel.Tracer(), Meter: tel.Meter(), Logger: s.logger,
	}
	if redis != nil && s.settings.RateLimit > 0 {
		deps.Tokens = redis.Tokens(cache.Bucket{PerSecond: s.settings.RateLimit, Burst: s.settings.RateLimitBurst})
	}
	s.gateway, err = gateway.New(gateway.Config{
		Version: s.version, RequestTimeout: s.settings.RequestTimeout,
		MaxBodyBytes: int64(s.settings.MaxBodyBytes), MaxImages: s.settings.MaxImages,
		MaxBodyMemory: int64(s.settings.MaxBodyMemory), MinBodyRate: int64(s.settings.MinBodyRate),
		// Longer than a stalled body may hold what others wait for.
		BodyWait: s.settings.RequestTimeout / 3, RateLimit: gateway.RateLimit{
			PerSecond: s.settings.RateLimit, Burst: s.settings.RateLimitBurst,
			Keys: s.settings.RateLimitKeys,
		},
		MaxImageBytes: int64(s.settings.MaxImageBytes), TrustedPeers: s.settings.TrustTraces,
		TrustedProxies: s.settings.TrustedProxies,
		CORSOrigins:    s.settings.CORSOrigins, Loopback: onLoopback(s.listener), AllowedHosts: s.settings.AllowedHosts,
		OpenScoring: s.OpenScoring(), AdminKey: string(s.settings.AdminKey),
		MaxBundleBytes: int64(s.settings.MaxBundleBytes),
		ChangeTimeout:  s.settings.ChangeTimeout,
	}, deps)
	if err != nil {
		return err
	}
	s.http = &http.Server{
		Handler:           s.gateway.Handler(),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		// The answer has to leave within the budget of the request, and a slow
		// reader gets some seconds more.
		WriteTimeout:   s.settings.RequestTimeout + 10*time.Second,
		MaxHeaderBytes: maxHeaderBytes,
		ErrorLog:       slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	s.gateway.Watch(s.http)
	return s.startOperations()
}

// URL is where the server listens, for people.
func (s *Server) URL() string {
	scheme := "http://"
	if s.certificate != nil {
		scheme = "https://"
	}
	host, port, err := net.SplitHostPort(s.listener.Addr().String())
	if err != nil {
		return scheme + s.listener.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return scheme + net.JoinHostPort(host, port)
}

// Child is the embedded Triton, nil where there is none.
func (s *Server) Child() *embedded.Server { return s.child }

// Encoder returns the encoder in use, and false while there is none.
func (s *Server) Encoder() (quality.Encoder, bool) { return s.service.Encoder() }

// Library is the checkpoints that there are.
func (s *Server) Library() *lifecycle.Library { return s.library }

// Manager changes the checkpoints.
func (s *Server) Manager() *lifecycle.Manager { return s.manager }

// Panels keeps the models that compute several heads in one call; nil where the
// server is ephemeral.
func (s *Server) Panels() *lifecycle.Panels {
	p, _ := s.panels.(*lifecycle.Panels)
	return p
}

// Score scores images without HTTP.
func (s *Server) Score(ctx context.Context, req scoring.Request) (scoring.Response, error) {
	return s.service.Score(ctx, req)
}

// While runs the server as long as f takes, which is called once the server is
// ready. The context of f ends when the server does.
func (s *Server) While(ctx context.Context, f func(ctx context.Context) error) error {
	running, stop := context.WithCancel(ctx)
	defer stop()
	ready, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		ended <- s.Run(running, func() { close(ready) })
		stop()
	}()
	select {
	case <-ready:
	case err := <-ended:
		if ctx.Err() != nil {
			return errors.Join(context.Cause(ctx), err)
		}
		return errors.Join(errors.New("the server stopped before it was ready"), err)
	}
	err := f(running)
	stop()
	return errors.Join(err, <-ended)
}

// Run serves until ctx ends or an embedded Triton is given up, then drains and
// closes. ready, which may be nil, is called once the server is ready.
func (s *Server) Run(ctx context.Context, ready func()) error {
	if s.child == nil {
		return s.serve(ctx, ready)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	gone := make(chan error, 1)
	go func() {
		select {
		case <-s.child.Done():
			gone <- s.child.Err()
			cancel()
		case <-ctx.Done():
			gone <- nil
		}
	}()
	err := s.serve(ctx, ready)
	cancel()
	return errors.Join(err, <-gone)
}

// serve works until ctx ends, then drains: /readyz goes red, accepted requests
// are answered, and the rest is closed.
func (s *Server) serve(ctx context.Context, ready func()) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { s.readiness.Run(work) })
	background.Go(func() { s.manager.Run(work) })
	background.Go(func() { s.manager.Follow(work) })
	background.Go(func() { s.manager.Beat(work) })
	background.Go(func() {
		for {
			select {
			case <-s.restarted:
				s.follower.reload()
			case <-work.Done():
				return
			}
		}
	})
	background.Go(func() { s.panels.Run(work) })
	background.Go(func() { s.restartHung(work) })
	background.Go(func() { s.experiments.run(work) })
	background.Go(func() { s.followCertificate(work, tlsInterval) })
	background.Go(func() { newGiveBack(s.preparer.Age).run(work) })
	served := make(chan error, 1)
	go func() {
		limited, err := s.limitConnections(s.listener)
		if err != nil {
			served <- err
			return
		}
		var listener net.Listener = limited
		if s.certificate != nil {
			listener = tls.NewListener(limited, s.certificate.Config())
		}
		served <- s.http.Serve(listener)
	}()
	if ready != nil {
		background.Go(func() {
			if s.awaitReady(ctx) {
				ready()
			}
		})
	}
	var err error
	var shutdown shutdown
	select {
	case err = <-served:
		shutdown = s.beginShutdown()
	case <-ctx.Done():
		shutdown = s.beginShutdown()
		err = s.drain(shutdown)
	}
	stop()
	waited := shutdown.within(stopMark, "background work", func(context.Context) error {
		background.Wait()
		return nil
	})
	return errors.Join(err, waited, s.close(shutdown))
}

// patience is how long a start may take before the log says what it waits for.
const patience = 5 * time.Second

// awaitReady reports whether the program became ready before ctx ended.
func (s *Server) awaitReady(ctx context.Context) bool {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	impatient := time.NewTimer(patience)
	defer impatient.Stop()
	for {
		report := s.readiness.Report()
		if report.Status == "ready" || report.Status == "degraded" {
			return true
		}
		select {
		case <-ticker.C:
		case <-impatient.C:
			for _, check := range report.Checks {
				if check.Critical && !check.OK {
					s.logger.Warn("not ready yet", "check", check.Name, "detail", check.Detail)
				}
			}
		case <-ctx.Done():
			return false
		}
	}
}
