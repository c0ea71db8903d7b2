package cache

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/agiqa/agiqa/quality"
)

// RedisConfig says where the server is and how little time it gets. A miss is
// cheaper than a wait, so that every bound is small and nothing is retried.
type RedisConfig struct {
	// URL is redis://[user:password@]host[:port][/db], rediss:// for TLS, or
	// unix:///path?db=N.
	URL string
	// Authorities sign the certificate of a rediss:// server; nil: those of the
	// system.
	Authorities *x509.CertPool
	// OperationTimeout bounds one Get, Set or Delete with everything in it:
	// waiting for a connection, dialling, authentication, the command.
	OperationTimeout time.Duration
	// DialTimeout bounds one attempt to connect. A connection that is late for
	// the operation that wanted it serves the next one, so this may be longer
	// than OperationTimeout.
	DialTimeout time.Duration
	// PoolSize is the most connections that are open at a time.
	PoolSize int
	// MaxValueBytes is the largest value that is written or read. No more than
	// one byte above it is ever fetched, whatever the key holds.
	MaxValueBytes int
	// BreakerFailures in a row make the store answer [ErrUnavailable] at once.
	BreakerFailures int
	// BreakerInterval is the time between two probes of a server that failed.
	BreakerInterval time.Duration
	// LogInterval is the least time between two log lines about an outage.
	LogInterval time.Duration
	// Logger takes the start and the end of an outage; nil discards them.
	Logger *slog.Logger
	// Tracer makes the client spans; nil makes none.
	Tracer trace.TracerProvider
	// Meter takes agiqa.cache.redis.available; nil for none.
	Meter metric.MeterProvider
	// Now is the breaker's and the log's clock; nil is time.Now.
	Now func() time.Time
}

// DefaultRedisConfig returns the production bounds; the URL is still to be
// set.
func DefaultRedisConfig() RedisConfig {
	return RedisConfig{
		OperationTimeout: 50 * time.Millisecond,
		DialTimeout:      100 * time.Millisecond,
		PoolSize:         16,
		MaxValueBytes:    256 << 10, // six embeddings of 1,024 numbers are 24 KiB
		BreakerFailures:  3,
		BreakerInterval:  time.Second,
		LogInterval:      time.Minute,
	}
}

// Validate reports every fault at once, each naming its field.
func (c RedisConfig) Validate() error {
	var faults []error
	switch options, err := parseRedisURL(c.URL); {
	case err != nil:
		faults = append(faults, err)
	case c.Authorities != nil && options.TLSConfig == nil:
		faults = append(faults, errors.New("field Authorities is set for a URL without TLS, must be rediss://"))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{
		{"OperationTimeout", c.OperationTimeout},
		{"DialTimeout", c.DialTimeout},
		{"BreakerInterval", c.BreakerInterval},
		{"LogInterval", c.LogInterval},
	} {
		if d.value <= 0 {
			faults = append(faults, fmt.Errorf("%s is %s, must be positive", d.name, d.value))
		}
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"PoolSize", c.PoolSize},
		{"MaxValueBytes", c.MaxValueBytes},
		{"BreakerFailures", c.BreakerFailures},
	} {
		if n.value <= 0 {
			faults = append(faults, fmt.Errorf("%s is %d, must be positive", n.name, n.value))
		}
	}
	return errors.Join(faults...)
}

// Redis is a [Store] on one Redis server (or anything that speaks its
// protocol; not a cluster). It needs no server to start, and finds one that
// comes up later.
type Redis struct {
	client  *redis.Client
	config  RedisConfig
	breaker *breaker
	outage  *outageLog
	failure atomic.Pointer[error] // the last one that spoke against the server
	release func() error          // takes the gauge off the meter
}

// NewRedis returns a Redis without connecting to anything. It must be closed.
func NewRedis(config RedisConfig) (*Redis, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("redis cache: %w", err)
	}
	options, err := parseRedisURL(config.URL)
	if err != nil {
		return nil, fmt.Errorf("redis cache: %w", err)
	}
	now := config.Now
	if now == nil {
		now = time.Now
	}
	if config.Authorities != nil {
		options.TLSConfig.RootCAs = config.Authorities
	}
	bound(options, config)
	r := &Redis{
		client:  redis.NewClient(options),
		config:  config,
		breaker: &breaker{threshold: config.BreakerFailures, interval: config.BreakerInterval, now: now},
		outage:  &outageLog{logger: loggerOr(config.Logger), throttle: throttle{interval: config.LogInterval, now: now}},
	}
	if config.Tracer != nil {
		r.client.AddHook(newSpanHook(config.Tracer, options))
	}
	if r.release, err = observeAvailability(config.Meter, r.Available); err != nil {
		return nil, errors.Join(fmt.Errorf("redis cache: %w", err), r.client.Close())
	}
	return r, nil
}

// bound replaces the driver's patience (seconds, retries) by the config's.
func bound(o *redis.Options, c RedisConfig) {
	// Without this the driver looks at the context before it takes a
	// connection, and then waits for its own timeouts.
	o.ContextTimeoutEnabled = true
	o.DialTimeout = c.DialTimeout
	o.ReadTimeout = c.OperationTimeout
	o.WriteTimeout = c.OperationTimeout
	o.PoolTimeout = c.OperationTimeout
	o.MaxRetries = -1 // the driver's word for none
	o.DialerRetries = 1
	o.PoolSize = c.PoolSize
	o.MaxActiveConns = c.PoolSize
	o.PipelinePoolSize = -1 // no pipelines here
	o.ConnMaxIdleTime = 5 * time.Minute
	// Nothing of RESP3 is used: no push messages, so none can be mistaken for
	// a reply.
	o.Protocol = 2
	o.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	// CLIENT SETINFO would be one more round trip for each connection, and its
	// late reply was once read as the next command's.
	o.DisableIdentity = true
	o.Dialer = boundedDialer(o.NewDialer(), c.MaxValueBytes+1)
}

// Get implements [Store]. It adds [ErrUnavailable] and the driver's errors;
// see [ReasonOf].
func (r *Redis) Get(ctx context.Context, key string) ([]byte, error) {
	var value []byte
	err := r.do(ctx, func(ctx context.Context) (err error) {
		// GETRANGE fetches a bounded part of whatever the key holds; one byte
		// more than allowed tells a value at the limit from one above it.
		value, err = r.client.GetRange(ctx, key, 0, int64(r.config.MaxValueBytes)).Bytes()
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case len(value) == 0:
		return nil, ErrNotFound // GETRANGE of an absent key is empty, and Set refuses empty values
	case len(value) > r.config.MaxValueBytes:
		return nil, fmt.Errorf("%w: above %d bytes", ErrValueSize, r.config.MaxValueBytes)
	}
	return value, nil
}

// Set implements [Store].
func (r *Redis) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if err := checkSet(value, ttl, r.config.MaxValueBytes); err != nil {
		return err
	}
	return r.do(ctx, func(ctx context.Context) error {
		return r.client.Set(ctx, key, value, max(ttl, time.Millisecond)).Err()
	})
}

// Delete implements [Store]. The server frees the memory in the background, so
// that a huge foreign value does not stop it.
func (r *Redis) Delete(ctx context.Context, key string) error {
	return r.do(ctx, func(ctx context.Context) error { return r.client.Unlink(ctx, key).Err() })
}

// Check asks the server for what the cache needs of it: a SET in the cluster
// slot of the encoder's keys, within OperationTimeout and behind the circuit
// breaker. The key doesn't exist and isn't made, but a server that answers and
// can't take values (a replica, a full one, a node of a cluster) refuses the
// command all the same; [Explain] says why. Behind an open breaker it returns the failure that keeps
// it open. Called regularly, it keeps [Redis.Available] up to date when little
// else is asked of the server.
func (r *Redis) Check(ctx context.Context, encoder quality.Encoder) error {
	key := newSlot("check", Identity{Encoder: encoder.Digest}).key
	err := r.do(ctx, func(ctx context.Context) error {
		err := r.client.SetArgs(ctx, key, "1", redis.SetArgs{Mode: "XX", TTL: time.Second}).Err()
		if errors.Is(err, redis.Nil) { // it isn't there
			return nil
		}
		return err
	})
	if last := r.failure.Load(); last != nil && errors.Is(err, ErrUnavailable) {
		return *last
	}
	return err
}

// Available reports whether the server is being asked, which says that it
// answered lately or was not asked yet.
func (r *Redis) Available() bool { return !r.breaker.isOpen() }

// Close closes every connection.
func (r *Redis) Close() error { return errors.Join(r.release(), r.client.Close()) }

// do runs one operation under the breaker and the operation's own budget.
func (r *Redis) do(ctx context.Context, operation func(context.Context) error) (err error) {
	admitted, ok := r.breaker.admit()
	if !ok {
		return ErrUnavailable
	}
	result := unknown // what a panic below would leave
	defer func() {
		r.outage.note(r.breaker.report(admitted, result), err)
	}()
	deadline, has := ctx.Deadline()
	hurried := has && time.Until(deadline) < r.config.OperationTimeout
	budget, cancel := context.WithTimeout(ctx, r.config.OperationTimeout)
	defer cancel()
	err = operation(budget)
	if result = outcomeOf(err); hurried && ReasonOf(err) == ReasonTimeout {
		result = unknown // the caller's own time was up, not the server's
	}
	if result == failed {
		r.failure.Store(&err)
	}
	return err
}

// SilenceDriver turns off the Redis driver's own log, which goes to standard
// error as plain text, a line for each failed connection. The setting is the
// driver's and holds for the whole process, so it belongs into main.
func SilenceDriver() { logging.Disable() }
