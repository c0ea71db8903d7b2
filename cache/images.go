package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/metric"

	"github.com/agiqa/agiqa/quality"
)

// ImagesConfig says where image embeddings are kept and for how long.
type ImagesConfig struct {
	// Encoder is the encoder that serves. Keys of another one are never found
	// and never stored.
	Encoder quality.Encoder
	// Store keeps the values, in this process: they aren't authenticated.
	Store Store
	// TTL is the longest that a value is kept.
	TTL time.Duration
	// Remote is shared with other servers and asked second; nil for none. Each
	// image that Store does not know costs a round trip to it.
	Remote Store
	// Keys authenticate what is kept in Remote, which needs them.
	Keys *Keyring
	// RemoteTTL is the longest that a value is kept there.
	RemoteTTL time.Duration
	// WriteTimeout bounds one write to Remote, which no request waits for.
	WriteTimeout time.Duration
	// MaxWrites is the most writes to Remote at a time; more are dropped.
	MaxWrites int
	// JitterFraction of TTL is what a value's time may be shorter, at random.
	JitterFraction float64
	// LogInterval is the least time between two log lines of a kind.
	LogInterval time.Duration
	// Logger takes faults that did no harm; nil discards them.
	Logger *slog.Logger
	// Meter takes the counters; nil for none.
	Meter metric.MeterProvider
}

// DefaultImagesConfig returns the production bounds; encoder and store are
// still to be set.
func DefaultImagesConfig() ImagesConfig {
	return ImagesConfig{
		TTL: 24 * time.Hour, JitterFraction: 0.1, LogInterval: time.Minute,
		RemoteTTL: 24 * time.Hour, WriteTimeout: 250 * time.Millisecond, MaxWrites: 16,
	}
}

// Validate reports every fault at once, each naming its field.
func (c ImagesConfig) Validate() error {
	faults := []error{checkEncoder(c.Encoder), checkLifetime(c.TTL, c.JitterFraction, c.LogInterval)}
	if c.Store == nil {
		faults = append(faults, errors.New("Store is missing"))
	}
	faults = append(faults, c.remote().validate())
	if c.Remote != nil {
		faults = append(faults, checkLifetime(c.RemoteTTL, c.JitterFraction, c.LogInterval))
	}
	return errors.Join(faults...)
}

func (c ImagesConfig) remote() remoteConfig {
	return remoteConfig{store: c.Remote, keys: c.Keys, timeout: c.WriteTimeout, most: c.MaxWrites}
}

// Images is a quality.EmbeddingCache over one store, or over two: the second is
// asked for what the first does not know, and what it finds is kept in the
// first.
type Images struct {
	config ImagesConfig
	layer  *layer
	remote *remote // nil: none
}

var _ quality.EmbeddingCache = (*Images)(nil)

// NewImages returns an Images. It must be closed where it has a Remote; the
// stores are their owner's to close, after it.
func NewImages(config ImagesConfig) (*Images, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	record, err := newRecorder(config.Meter, "image")
	if err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	faults := newFaultLog(config.Logger, config.LogInterval)
	remoteTTL := func() time.Duration { return jittered(config.RemoteTTL, config.JitterFraction) }
	return &Images{
		config: config,
		layer:  &layer{name: LayerMemory, store: config.Store, record: record, faults: faults},
		remote: newRemote(config.remote(), remoteTTL, record, faults),
	}, nil
}

// Close lets no new write to the remote store begin and waits for those under
// way, or for ctx.
func (i *Images) Close(ctx context.Context) error { return i.remote.close(ctx) }

// Lookup implements quality.EmbeddingCache.
func (i *Images) Lookup(ctx context.Context, key quality.EmbeddingKey) (quality.Embedding, bool) {
	if key.Encoder != i.config.Encoder.ImageIdentity() {
		return nil, false
	}
	s := imageSlot(key, i.config.Encoder.Dim)
	if rows, _, ok := i.layer.read(ctx, s); ok {
		return rows[0], true
	}
	if i.remote == nil {
		return nil, false
	}
	rows, value, ok := i.remote.read(ctx, s)
	if !ok {
		return nil, false
	}
	i.layer.write(ctx, s, value, jittered(i.config.TTL, i.config.JitterFraction))
	return rows[0], true
}

// Store implements quality.EmbeddingCache. An embedding that is not a unit
// vector of the encoder's length is not kept.
func (i *Images) Store(ctx context.Context, key quality.EmbeddingKey, e quality.Embedding) {
	if key.Encoder != i.config.Encoder.ImageIdentity() {
		return
	}
	s := imageSlot(key, i.config.Encoder.Dim)
	value, err := Encode(s.id, []quality.Embedding{e})
	if err != nil {
		i.layer.fault(ctx, opWrite, ReasonInvalid, err)
		return
	}
	i.layer.write(ctx, s, value, jittered(i.config.TTL, i.config.JitterFraction))
	i.remote.share(ctx, s, value)
}
