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
	// Store keeps the values. A remote one adds its latency to every request.
	Store Store
	// Layer names Store in metrics and logs.
	Layer Layer
	// TTL is the longest that a value is kept.
	TTL time.Duration
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
	return ImagesConfig{Layer: LayerMemory, TTL: 24 * time.Hour, JitterFraction: 0.1, LogInterval: time.Minute}
}

// Validate reports every fault at once, each naming its field.
func (c ImagesConfig) Validate() error {
	faults := []error{checkEncoder(c.Encoder), checkLifetime(c.TTL, c.JitterFraction, c.LogInterval)}
	if c.Store == nil {
		faults = append(faults, errors.New("Store is missing"))
	}
	if c.Layer != LayerMemory && c.Layer != LayerRedis {
		faults = append(faults, fmt.Errorf("Layer is %q, must be %q or %q", c.Layer, LayerMemory, LayerRedis))
	}
	return errors.Join(faults...)
}

// Images is a quality.EmbeddingCache over one store.
type Images struct {
	config ImagesConfig
	layer  *layer
}

var _ quality.EmbeddingCache = (*Images)(nil)

// NewImages returns an Images. The store is its owner's to close.
func NewImages(config ImagesConfig) (*Images, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	record, err := newRecorder(config.Meter, "image")
	if err != nil {
		return nil, fmt.Errorf("image cache: %w", err)
	}
	faults := newFaultLog(config.Logger, config.LogInterval)
	return &Images{
		config: config,
		layer:  &layer{name: config.Layer, store: config.Store, record: record, faults: faults},
	}, nil
}

// Lookup implements quality.EmbeddingCache.
func (i *Images) Lookup(ctx context.Context, key quality.EmbeddingKey) (quality.Embedding, bool) {
	if key.Encoder != i.config.Encoder.Digest {
		return nil, false
	}
	rows, _, ok := i.layer.read(ctx, imageSlot(key, i.config.Encoder.Dim))
	if !ok {
		return nil, false
	}
	return rows[0], true
}

// Store implements quality.EmbeddingCache. An embedding that is not a unit
// vector of the encoder's length is not kept.
func (i *Images) Store(ctx context.Context, key quality.EmbeddingKey, e quality.Embedding) {
	if key.Encoder != i.config.Encoder.Digest {
		return
	}
	s := imageSlot(key, i.config.Encoder.Dim)
	value, err := Encode(s.id, []quality.Embedding{e})
	if err != nil {
		i.layer.fault(ctx, opWrite, ReasonInvalid, err)
		return
	}
	i.layer.write(ctx, s, value, jittered(i.config.TTL, i.config.JitterFraction))
}
