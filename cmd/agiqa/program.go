package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/google.golang.org/grpc/otelgrpc"
	"go.opentelemetry.io/otel/metric"
	"golang.org/x/net/netutil"
	"google.golang.org/grpc"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/experiment/engine"
	"github.com/agiqa/agiqa/gateway"
	"github.com/agiqa/agiqa/internal/config"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/telemetry"
	"github.com/agiqa/agiqa/tritonclient"
)

// program is the gateway process: everything but Triton. It is built by
// newProgram, works until Run's context ends, and is closed once.
type program struct {
	settings    config.Settings
	place       place
	logger      *slog.Logger
	listener    net.Listener
	telemetry   *telemetry.Telemetry
	triton      *tritonclient.Client
	library     *library
	models      *models
	manager     *lifecycle.Manager
	panels      *lifecycle.Panels // nil: a guest's requests are few
	experiments *engine.Engine    // nil: there are none
	preparing   gateway.Check
	readiness   *gateway.Readiness
	gateway     *gateway.Gateway
	server      *http.Server
	closers     []func(ctx context.Context) error // run last first
}

// place says where a program stands towards its Triton.
type place struct {
	addresses []string
	library   *library
	folder    *tritonmodels.Folder // shared with Triton; nil: heads go with the load call
	guest     bool                 // another program may own the data folder: change nothing in it
}

// newProgram wires a program that will listen on listener and talk to the
// Triton of its place. On an error everything is closed again, the listener
// included.
func newProgram(ctx context.Context, s config.Settings, listener net.Listener, at place, logger *slog.Logger) (*program, error) {
	p := &program{settings: s, place: at, library: at.library, logger: logger, listener: listener}
	p.onClose(func(context.Context) error {
		if err := listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	if err := p.build(ctx); err != nil {
		_ = p.close(ctx)
		return nil, err
	}
	return p, nil
}

func (p *program) onClose(f func(ctx context.Context) error) { p.closers = append(p.closers, f) }

// close releases everything in reverse order of its making.
func (p *program) close(ctx context.Context) error {
	var faults []error
	for i := len(p.closers) - 1; i >= 0; i-- {
		faults = append(faults, p.closers[i](ctx))
	}
	p.closers = nil
	return errors.Join(faults...)
}

func (p *program) build(ctx context.Context) error {
	if err := p.buildTelemetry(ctx); err != nil {
		return err
	}
	if err := p.buildTriton(p.place.addresses); err != nil {
		return err
	}
	preparer, libraries, err := newPreparer(ctx, p.settings, p.logger)
	if err != nil {
		return err
	}
	p.onClose(func(context.Context) error { libraries.Close(); return nil })
	p.preparing = selfTested(preparer)
	service, err := scoring.New(scoringConfig(p.settings), scoring.Deps{
		Preparer: preparer, Triton: p.triton, Tracer: p.telemetry.Tracer(), Meter: p.telemetry.Meter(),
	})
	if err != nil {
		return err
	}
	if err := p.buildModels(service); err != nil {
		return err
	}
	if err := p.buildPanels(); err != nil {
		return err
	}
	if err := p.buildManager(); err != nil {
		return err
	}
	if err := p.buildProfiling(); err != nil {
		return err
	}
	scorer, err := p.buildExperiments(ctx, service)
	if err != nil {
		return err
	}
	return p.buildGateway(service, scorer)
}

// buildPanels makes what keeps panels, for scoring to use. A guest runs for a
// request or two: panels would cost it more than they save.
func (p *program) buildPanels() (err error) {
	if p.place.guest {
		return nil
	}
	deps := lifecycle.PanelDeps{
		Library: p.library.Library, Texts: p.models, Logger: p.logger,
		Servers: tritonmodels.PanelServers{Servers: tritonmodels.NewServers(p.triton, p.models.Encoder, p.place.folder == nil)},
	}
	if p.place.folder != nil { // an interface that holds a nil pointer is not nil
		deps.Folder = p.place.folder
	}
	cfg := lifecycle.DefaultPanelConfig()
	cfg.Recipe, cfg.Tolerance = scoring.PromptRecipe, p.settings.GoldenTolerance
	cfg.Grace = p.settings.RequestTimeout + time.Second
	if p.panels, err = lifecycle.NewPanels(cfg, deps); err != nil {
		return err
	}
	p.models.panels = p.panels
	return nil
}

// wake asks for models that Triton may have lost.
func (p *program) wake() {
	p.manager.Wake()
	if p.panels != nil {
		p.panels.Wake()
	}
}

// buildManager makes what changes checkpoints, which needs to know the encoder
// and where text embeddings are kept, and is told when the encoder changes.
func (p *program) buildManager() (err error) {
	if !p.place.guest {
		if err := p.library.Clean(); err != nil {
			return err
		}
	}
	deps := lifecycle.Deps{
		Library: p.library.Library, Texts: p.models, Logger: p.logger,
		Servers: tritonmodels.NewServers(p.triton, p.models.Encoder, p.place.folder == nil),
	}
	if p.place.folder != nil { // an interface that holds a nil pointer is not nil
		deps.Folder = p.place.folder
	}
	if p.panels != nil {
		deps.Changed = p.panels.Wake
	}
	cfg := lifecycle.DefaultConfig()
	cfg.Tolerance = p.settings.GoldenTolerance
	if p.manager, err = lifecycle.NewManager(cfg, deps); err != nil {
		return err
	}
	p.models.wake = p.wake
	p.models.manager = p.manager
	return nil
}

func scoringConfig(s config.Settings) scoring.Config {
	cfg := scoring.DefaultConfig()
	if s.Concurrency > 0 {
		cfg.Concurrency = s.Concurrency
	}
	cfg.Queue, cfg.QueueWait = s.Queue, s.QueueWait
	if s.Batching != "triton" {
		cfg.Batch = scoring.DefaultBatchConfig()
		cfg.Batch.Max, cfg.Batch.Wait = s.BatchMax, s.BatchWait
	}
	return cfg
}

func (p *program) buildTelemetry(ctx context.Context) (err error) {
	cfg := telemetry.DefaultConfig()
	cfg.Endpoint = p.settings.OTLPEndpoint
	cfg.ServiceVersion = version
	cfg.QueueSize = p.settings.TraceQueue
	cfg.SampleRatio = p.settings.TraceRatio
	cfg.Logger = p.logger
	if p.telemetry, err = telemetry.New(ctx, cfg, nil); err != nil {
		return err
	}
	p.onClose(p.telemetry.Close)
	return watchDisk(p.telemetry.Meter(), p.settings.DataDir)
}

func (p *program) buildTriton(addresses []string) (err error) {
	cfg := tritonclient.DefaultConfig()
	cfg.Addresses = addresses
	cfg.RequestTimeout = p.settings.RequestTimeout
	cfg.Connections, cfg.Meter = p.settings.TritonConnections, p.telemetry.Meter()
	// Admission bounds requests; one of them asks at most eight heads at once.
	// Readiness must find room beside them.
	cfg.MaxInFlight = max(cfg.MaxInFlight, 8*scoringConfig(p.settings).Concurrency+16)
	cfg.DialOptions = []grpc.DialOption{grpc.WithStatsHandler(otelgrpc.NewClientHandler(
		otelgrpc.WithTracerProvider(p.telemetry.Tracer()),
		otelgrpc.WithMeterProvider(p.telemetry.Meter()),
		otelgrpc.WithPropagators(telemetry.SampledOnly())))}
	if p.triton, err = tritonclient.New(cfg); err != nil {
		return fmt.Errorf("setting triton: %w", err)
	}
	p.onClose(func(context.Context) error { return p.triton.Close() })
	return nil
}

// buildModels makes the stores that outlive any encoder, and the part that
// follows the encoder.
func (p *program) buildModels(service *scoring.Service) error {
	m := &models{
		triton: p.triton, library: p.library, service: service, settings: p.settings,
		logger: p.logger, meter: p.telemetry.Meter(),
	}
	var err error
	memory := cache.DefaultMemoryConfig()
	memory.BudgetBytes = 16 << 20 // hundreds of checkpoints
	if m.texts, err = newMemory(memory, "text", m.meter); err != nil {
		return err
	}
	if p.settings.ImageCacheBytes > 0 {
		memory.BudgetBytes = int64(p.settings.ImageCacheBytes)
		if m.images, err = newMemory(memory, "image", m.meter); err != nil {
			return err
		}
	}
	if p.settings.RedisURL != "" {
		cfg := cache.DefaultRedisConfig()
		cfg.URL = string(p.settings.RedisURL)
		cfg.Logger, cfg.Tracer, cfg.Meter = p.logger, p.telemetry.Tracer(), m.meter
		if m.redis, err = cache.NewRedis(cfg); err != nil {
			return fmt.Errorf("setting redis-url: %w", err)
		}
		p.onClose(func(context.Context) error { return m.redis.Close() })
	}
	p.onClose(m.close)
	p.models = m
	return nil
}

func newMemory(cfg cache.MemoryConfig, name string, meter metric.MeterProvider) (*cache.Memory, error) {
	memory, err := cache.NewMemory(cfg)
	if err != nil {
		return nil, err
	}
	_, err = cache.ObserveMemory(meter, name, memory)
	return memory, err
}

func (p *program) buildGateway(service *scoring.Service, scorer gateway.Scorer) (err error) {
	p.readiness = gateway.NewReadiness(time.Second, 3*time.Second, append(p.models.checks(), p.preparing)...)
	p.readiness.Also(p.models.checkpointChecks)
	deps := gateway.Deps{
		Door: service, Pressure: memoryPressure(p.settings.MemoryWatermark, p.logger),
		Scorer: scorer, Checkpoints: p.library, Changes: changes{p.manager}, Readiness: p.readiness, Metrics: p.telemetry.MetricsHandler(),
		Tracer: p.telemetry.Tracer(), Meter: p.telemetry.Meter(), Logger: p.logger,
	}
	if p.experiments != nil { // an interface that holds a nil pointer is not nil
		deps.Experiments = experiments{p.experiments}
	}
	p.gateway, err = gateway.New(gateway.Config{
		Version: version, RequestTimeout: p.settings.RequestTimeout,
		MaxBodyBytes: int64(p.settings.MaxBodyBytes), MaxImages: p.settings.MaxImages,
		MaxBodyMemory: int64(p.settings.MaxBodyMemory), RateLimit: gateway.RateLimit{
			PerSecond: p.settings.RateLimit, Burst: p.settings.RateLimitBurst, Header: p.settings.RateLimitHeader, Keys: p.settings.RateLimitKeys,
		},
		MaxImageBytes: int64(p.settings.MaxImageBytes), TrustedPeers: p.settings.TrustTraces,
		AdminKey: string(p.settings.AdminKey), MaxBundleBytes: int64(p.settings.MaxBundleBytes), ChangeTimeout: p.settings.ChangeTimeout,
	}, deps)
	if err != nil {
		return err
	}
	p.server = &http.Server{
		Handler:           p.gateway.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		// The answer has to leave within the budget of the request, and a slow
		// reader gets some seconds more.
		WriteTimeout:   p.settings.RequestTimeout + 10*time.Second,
		MaxHeaderBytes: 64 << 10,
		ErrorLog:       slog.NewLogLogger(p.logger.Handler(), slog.LevelDebug),
	}
	return nil
}

// url is where the program listens, for people.
func (p *program) url() string {
	host, port, err := net.SplitHostPort(p.listener.Addr().String())
	if err != nil {
		return "http://" + p.listener.Addr().String()
	}
	if ip := net.ParseIP(host); ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return "http://" + net.JoinHostPort(host, port)
}

// run serves until ctx ends, then drains: /readyz goes red, accepted requests
// are answered, and the rest is closed.
func (p *program) run(ctx context.Context, ready func()) error {
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { p.readiness.Run(work) })
	background.Go(func() { p.manager.Run(work) })
	if p.panels != nil {
		background.Go(func() { p.panels.Run(work) })
	}
	if p.experiments != nil {
		background.Go(func() { p.experiments.Run(work) })
	}
	served := make(chan error, 1)
	listener := p.gateway.Attend(p.server, netutil.LimitListener(p.listener, p.settings.MaxConnections))
	go func() { served <- p.server.Serve(listener) }()
	if ready != nil {
		background.Go(func() {
			if p.awaitReady(ctx) {
				ready()
			}
		})
	}
	var err error
	select {
	case err = <-served:
	case <-ctx.Done():
		err = p.drain(context.WithoutCancel(ctx))
	}
	stop()
	background.Wait()
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	return errors.Join(err, p.close(closing))
}

func (p *program) drain(ctx context.Context) error {
	p.gateway.Leave()
	time.Sleep(p.settings.DrainDelay) // what load balancers send until they notice is answered
	p.gateway.Drain()
	ctx, cancel := context.WithTimeout(ctx, p.settings.DrainTimeout)
	defer cancel()
	if err := p.server.Shutdown(ctx); err != nil {
		return errors.Join(fmt.Errorf("requests were cut off after drain-timeout: %w", err), p.server.Close())
	}
	return nil
}

// patience is how long a start may take before the log says what it waits for.
const patience = 5 * time.Second

// awaitReady reports whether the program became ready before ctx ended.
func (p *program) awaitReady(ctx context.Context) bool {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	impatient := time.NewTimer(patience)
	defer impatient.Stop()
	for {
		report := p.readiness.Report()
		if report.Status == "ready" || report.Status == "degraded" {
			return true
		}
		select {
		case <-ticker.C:
		case <-impatient.C:
			for _, check := range report.Checks {
				if check.Critical && !check.OK {
					p.logger.Warn("not ready yet", "check", check.Name, "detail", check.Detail)
				}
			}
		case <-ctx.Done():
			return false
		}
	}
}
