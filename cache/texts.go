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

// PromptEmbedder computes text embeddings of an encoder and no other, with the
// errors of quality.ImageEncoder. It must end when its context does.
type PromptEmbedder interface {
	// EmbedPrompts embeds the learned prompts of a checkpoint.
	EmbedPrompts(ctx context.Context, encoder quality.Encoder, c quality.Checkpoint) (quality.TextEmbeddings, error)
	// EmbedPrompt embeds the prompt that a picture was made from. A prompt of too
	// many tokens is prompt_too_long.
	EmbedPrompt(ctx context.Context, encoder quality.Encoder, prompt string) (quality.Embedding, error)
}

// TextsConfig says where text embeddings are kept and for how long.
type TextsConfig struct {
	// Encoder is the encoder that serves. Its digest is part of every key, and
	// its Dim is the length that every embedding must have.
	Encoder quality.Encoder
	// Recipe names the way from a checkpoint to tokens, where a release may
	// change it; it is part of every key. It may be empty.
	Recipe string
	// Memory is asked first.
	Memory Store
	// Remote is shared with other servers and asked second; nil for none.
	Remote Store
	// Keys authenticate what is kept in Remote, which needs them.
	Keys *Keyring
	// TTL is the longest that a value is kept. Values never go stale, since
	// their keys name everything that they depend on; TTL only clears away
	// what nobody uses.
	TTL time.Duration
	// JitterFraction of TTL is what a value's time may be shorter, at random.
	JitterFraction float64
	// SourceTimeout bounds one computation, with the remote read before it.
	SourceTimeout time.Duration
	// WriteTimeout bounds one write to Remote, which no request waits for.
	WriteTimeout time.Duration
	// MaxWrites is the most writes to Remote at a time; more are dropped.
	MaxWrites int
	// LogInterval is the least time between two log lines of a kind.
	LogInterval time.Duration
	// Logger takes faults that did no harm; nil discards them.
	Logger *slog.Logger
	// Meter takes the counters; nil for none.
	Meter metric.MeterProvider
}

// DefaultTextsConfig returns the production bounds; encoder and stores are
// still to be set.
func DefaultTextsConfig() TextsConfig {
	return TextsConfig{
		TTL:            7 * 24 * time.Hour,
		JitterFraction: 0.1,
		SourceTimeout:  10 * time.Second, // a text encoder on a CPU, cold
		WriteTimeout:   250 * time.Millisecond,
		MaxWrites:      8,
		LogInterval:    time.Minute,
	}
}

// Validate reports every fault at once, each naming its field.
func (c TextsConfig) Validate() error {
	faults := []error{checkEncoder(c.Encoder), checkLifetime(c.TTL, c.JitterFraction, c.LogInterval)}
	if c.Memory == nil {
		faults = append(faults, errors.New("Memory is missing"))
	}
	if c.SourceTimeout <= 0 {
		faults = append(faults, fmt.Errorf("SourceTimeout is %s, must be positive", c.SourceTimeout))
	}
	faults = append(faults, c.remote().validate())
	return errors.Join(faults...)
}

func (c TextsConfig) remote() remoteConfig {
	return remoteConfig{store: c.Remote, keys: c.Keys, timeout: c.WriteTimeout, most: c.MaxWrites}
}

// Texts is a quality.TextSource that remembers: memory, then the remote store,
// then the source. For one checkpoint the source runs once at a time, however
// many callers wait.
type Texts struct {
	config  TextsConfig
	source  PromptEmbedder
	memory  *layer
	remote  *remote // nil: none
	sources group[foundText]
}

// foundText is the result of a coalesced call.
type foundText struct {
	rows   []quality.Embedding
	cached bool
}

var (
	_ quality.TextSource   = (*Texts)(nil)
	_ quality.PromptSource = (*Texts)(nil)
)

// NewTexts returns a Texts over source. It must be closed; its stores are
// their owner's to close, after it.
func NewTexts(config TextsConfig, source PromptEmbedder) (*Texts, error) {
	if err := config.Validate(); err != nil {
		return nil, fmt.Errorf("text cache: %w", err)
	}
	if source == nil {
		return nil, errors.New("text cache: source is missing")
	}
	record, err := newRecorder(config.Meter, "text")
	if err != nil {
		return nil, fmt.Errorf("text cache: %w", err)
	}
	faults := newFaultLog(config.Logger, config.LogInterval)
	t := &Texts{
		config:  config,
		source:  source,
		memory:  &layer{name: LayerMemory, store: config.Memory, record: record, faults: faults},
		sources: group[foundText]{timeout: config.SourceTimeout},
	}
	t.remote = newRemote(config.remote(), t.ttl, record, faults)
	return t, nil
}

// TextEmbeddings implements quality.TextSource. Beside the source's own errors
// there are encoder_mismatch, for a checkpoint of another encoder,
// model_bad_output, for vectors of a wrong length or norm, deadline_exceeded
// and client_closed_request, when ctx ends first, draining, after Close, and
// internal, when the source panicked. No error is remembered.
func (t *Texts) TextEmbeddings(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
	if c.Encoder != t.config.Encoder.Digest {
		return quality.TextEmbeddings{}, false, quality.Errorf(quality.KindEncoderMismatch,
			"checkpoint %s was trained on another encoder than the one that serves", c.Name)
	}
	s := textSlot(t.config.Encoder, t.config.Recipe, c)
	rows, cached, err := t.fetch(ctx, s, "checkpoint "+c.Name, func(ctx context.Context) ([]quality.Embedding, error) {
		text, err := t.source.EmbedPrompts(ctx, t.config.Encoder, c)
		return text[:], err
	})
	if err != nil {
		return quality.TextEmbeddings{}, false, err
	}
	return quality.TextEmbeddings(rows), cached, nil
}

// PromptEmbedding implements [quality.PromptSource], with the errors of
// [Texts.TextEmbeddings] and those of a prompt. It's kept as the text embeddings
// of checkpoints are, by the prompt's digest.
func (t *Texts) PromptEmbedding(ctx context.Context, prompt string) (quality.Embedding, bool, error) {
	s := promptSlot(t.config.Encoder, prompt)
	rows, cached, err := t.fetch(ctx, s, "a prompt", func(ctx context.Context) ([]quality.Embedding, error) {
		e, err := t.source.EmbedPrompt(ctx, t.config.Encoder, prompt)
		return []quality.Embedding{e}, err
	})
	if err != nil {
		return nil, false, err
	}
	return rows[0], cached, nil
}

// fetch returns the rows of a slot, which compute computes where no layer has
// them. of says in errors whose they are.
func (t *Texts) fetch(
	ctx context.Context, s slot, of string, compute func(ctx context.Context) ([]quality.Embedding, error),
) ([]quality.Embedding, bool, error) {
	if rows, _, ok := t.memory.read(ctx, s); ok {
		return rows, true, nil
	}
	found, err := t.sources.do(ctx, s.key, func(ctx context.Context) (foundText, error) {
		return t.find(ctx, s, of, compute)
	})
	if err != nil {
		return nil, false, textError(ctx, of, err)
	}
	return found.rows, found.cached, nil
}

// find is the work of a coalesced call.
func (t *Texts) find(
	ctx context.Context, s slot, of string, compute func(ctx context.Context) ([]quality.Embedding, error),
) (foundText, error) {
	// Between this caller's look into memory and this call, another call
	// may have landed. The look is not counted: it is the same request's.
	if value, err := t.memory.store.Get(ctx, s.key); err == nil {
		if rows, err := Decode(s.id, value); err == nil {
			return foundText{rows: rows, cached: true}, nil
		}
	}
	if t.remote != nil {
		if rows, value, ok := t.remote.read(ctx, s); ok {
			t.memory.write(ctx, s, value, t.ttl())
			return foundText{rows: rows, cached: true}, nil
		}
	}
	rows, err := compute(ctx)
	if err != nil {
		return foundText{}, err
	}
	value, err := Encode(s.id, rows)
	if err != nil {
		return foundText{}, quality.Errorf(quality.KindModelBadOutput,
			"the text encoder gave unusable embeddings for %s", of).Because(err)
	}
	t.memory.write(ctx, s, value, t.ttl())
	t.remote.share(ctx, s, value)
	return foundText{rows: rows}, nil
}

func (t *Texts) ttl() time.Duration { return jittered(t.config.TTL, t.config.JitterFraction) }

// Close lets no new computation begin, waits for those under way and for their
// writes, and cancels what is left when ctx ends first, with ctx's error.
func (t *Texts) Close(ctx context.Context) error {
	return errors.Join(t.sources.close(ctx), t.remote.close(ctx))
}

// textError gives a kind to the errors of waiting, and leaves the source's
// errors as they are.
func textError(ctx context.Context, of string, err error) error {
	switch {
	case errors.Is(err, errClosed):
		return quality.Errorf(quality.KindDraining, "the server is shutting down")
	case isQualityError(err):
		return err
	case errors.Is(err, context.Canceled) && ctx.Err() == nil:
		// Only Close cancels a call.
		return quality.Errorf(quality.KindDraining, "the server is shutting down").Because(err)
	case errors.Is(err, context.Canceled):
		return quality.Errorf(quality.KindClientClosedRequest, "the request was cancelled").Because(err)
	case errors.Is(err, context.DeadlineExceeded):
		return quality.Errorf(quality.KindDeadlineExceeded,
			"the text embeddings of %s were not ready in time", of).Because(err)
	}
	return fmt.Errorf("text embeddings of %s: %w", of, err)
}

func isQualityError(err error) bool {
	_, ok := errors.AsType[*quality.Error](err)
	return ok
}

// checkEncoder reports an encoder that cannot stand in a key.
func checkEncoder(e quality.Encoder) error {
	var faults []error
	if e.Digest.IsZero() {
		faults = append(faults, errors.New("Encoder.Digest is missing"))
	}
	if e.Dim <= 0 || e.Dim > maxDim {
		faults = append(faults, fmt.Errorf("Encoder.Dim is %d, must be between 1 and %d", e.Dim, maxDim))
	}
	return errors.Join(faults...)
}

// maxDim is far above any CLIP (1,280) and keeps sizes far from overflow.
const maxDim = 1 << 16

// checkLifetime reports settings of time that contradict themselves.
func checkLifetime(ttl time.Duration, jitter float64, logInterval time.Duration) error {
	var faults []error
	if ttl <= 0 {
		faults = append(faults, fmt.Errorf("TTL is %s, must be positive", ttl))
	}
	if !(jitter >= 0 && jitter < 1) {
		faults = append(faults, fmt.Errorf("JitterFraction is %v, must be at least 0 and below 1", jitter))
	}
	if logInterval <= 0 {
		faults = append(faults, fmt.Errorf("LogInterval is %s, must be positive", logInterval))
	}
	return errors.Join(faults...)
}
