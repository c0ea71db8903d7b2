package cache_test

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/metric"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/cachetest"
	"github.com/agiqa/agiqa/internal/metrics/metricstest"
	"github.com/agiqa/agiqa/quality"
)

const testDim = 8

var testEncoder = quality.Encoder{
	Name: "test", Digest: quality.DigestOf([]byte("encoder")), Dim: testDim, TextWidth: 4, ContextLength: 77,
}

// checkpointNamed returns a checkpoint of testEncoder whose digest follows
// from its name.
func checkpointNamed(name string) quality.Checkpoint {
	return quality.Checkpoint{Name: name, Digest: quality.DigestOf([]byte(name)), Encoder: testEncoder.Digest}
}

// unit returns a unit vector that follows from seed.
func unit(dim int, seed uint64) quality.Embedding {
	random := rand.New(rand.NewPCG(seed, 1))
	e := make(quality.Embedding, dim)
	var sum float64
	for i := range e {
		e[i] = float32(random.NormFloat64())
		sum += float64(e[i]) * float64(e[i])
	}
	for i := range e {
		e[i] /= float32(math.Sqrt(sum))
	}
	return e
}

// textOf returns the embeddings that fakeSource gives for a checkpoint.
func textOf(c quality.Checkpoint) quality.TextEmbeddings {
	var text quality.TextEmbeddings
	for i := range text {
		text[i] = unit(testDim, uint64(c.Digest[0])<<8+uint64(i))
	}
	return text
}

// fakeSource is a PromptEmbedder that counts its calls by checkpoint.
type fakeSource struct {
	// before, if set, runs first; what it returns or panics with is the call's.
	before func(ctx context.Context, c quality.Checkpoint) error

	mu    sync.Mutex
	calls map[string]int
}

func (s *fakeSource) EmbedPrompts(
	ctx context.Context, encoder quality.Encoder, c quality.Checkpoint,
) (quality.TextEmbeddings, error) {
	if encoder.Digest != c.Encoder {
		return quality.TextEmbeddings{}, fmt.Errorf("checkpoint %s was asked of another encoder, %s", c.Name, encoder.Name)
	}
	s.mu.Lock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[c.Name]++
	s.mu.Unlock()
	if s.before != nil {
		if err := s.before(ctx, c); err != nil {
			return quality.TextEmbeddings{}, err
		}
	}
	return textOf(c), nil
}

// promptOf returns the embedding that fakeSource gives for a prompt.
func promptOf(prompt string) quality.Embedding {
	d := quality.DigestOf([]byte(prompt))
	return unit(testDim, uint64(d[0])<<8+uint64(d[1]))
}

// EmbedPrompt counts its calls by prompt.
func (s *fakeSource) EmbedPrompt(
	ctx context.Context, encoder quality.Encoder, prompt string,
) (quality.Embedding, error) {
	s.mu.Lock()
	if s.calls == nil {
		s.calls = make(map[string]int)
	}
	s.calls[prompt]++
	s.mu.Unlock()
	if encoder != testEncoder {
		return nil, fmt.Errorf("prompt for encoder %s", encoder.Name)
	}
	if s.before != nil {
		if err := s.before(ctx, quality.Checkpoint{Name: prompt}); err != nil {
			return nil, err
		}
	}
	return promptOf(prompt), nil
}

func (s *fakeSource) count(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls[name]
}

// faultyStore is a Store whose operations can be made to fail. It passes the
// suite while they are not.
type faultyStore struct {
	cache.Store
	getErr, setErr, deleteErr atomic.Pointer[error]
	onSet                     func(ctx context.Context, ttl time.Duration) // before every Set
}

func (s *faultyStore) Get(ctx context.Context, key string) ([]byte, error) {
	if err := s.getErr.Load(); err != nil {
		return nil, *err
	}
	return s.Store.Get(ctx, key)
}

func (s *faultyStore) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	if s.onSet != nil {
		s.onSet(ctx, ttl)
	}
	if err := s.setErr.Load(); err != nil {
		return *err
	}
	return s.Store.Set(ctx, key, value, ttl)
}

func (s *faultyStore) Delete(ctx context.Context, key string) error {
	if err := s.deleteErr.Load(); err != nil {
		return *err
	}
	return s.Store.Delete(ctx, key)
}

func TestFaultyStoreIsAStore(t *testing.T) {
	cachetest.Run(t, func(t *testing.T) cache.Store { return &faultyStore{Store: newMemory(t)} })
}

func newMemory(t testing.TB) *cache.Memory {
	t.Helper()
	m, err := cache.NewMemory(cache.MemoryConfig{BudgetBytes: 4 << 20, MaxValueBytes: cachetest.MaxValueBytes})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// keyring returns the keyring of two secrets; the previous one may be empty.
func keyring(t testing.TB, current, previous string) *cache.Keyring {
	t.Helper()
	k, err := cache.NewKeyring([]byte(current), []byte(previous))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newTexts returns a Texts with a fresh memory over source, and closes it when
// the test ends.
func newTexts(t testing.TB, source cache.PromptEmbedder, change func(*cache.TextsConfig)) *cache.Texts {
	t.Helper()
	config := cache.DefaultTextsConfig()
	config.Encoder = testEncoder
	config.Memory, config.Keys = newMemory(t), keyring(t, "the deployment's secret", "")
	config.WriteTimeout = patience
	if change != nil {
		change(&config)
	}
	texts, err := cache.NewTexts(config, source)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTexts(t, texts) })
	return texts
}

// patience bounds what must happen but has no set time.
const patience = 20 * time.Second

func closeTexts(t testing.TB, texts *cache.Texts) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := texts.Close(ctx); err != nil {
		t.Errorf("Close: %v", err)
	}
}

// wantText asks for a checkpoint's embeddings and checks them.
func wantText(t testing.TB, texts *cache.Texts, c quality.Checkpoint, wantCached bool) {
	t.Helper()
	text, cached, err := texts.TextEmbeddings(context.Background(), c)
	if err != nil {
		t.Errorf("TextEmbeddings(%s): %v", c.Name, err)
		return
	}
	if err := sameText(text, textOf(c)); err != nil {
		t.Errorf("TextEmbeddings(%s): %v", c.Name, err)
	}
	if cached != wantCached {
		t.Errorf("TextEmbeddings(%s): cached = %t, want %t", c.Name, cached, wantCached)
	}
}

func sameText(got, want quality.TextEmbeddings) error {
	for i := range want {
		if len(got[i]) != len(want[i]) {
			return fmt.Errorf("row %d has %d numbers, want %d", i, len(got[i]), len(want[i]))
		}
		for j := range want[i] {
			if got[i][j] != want[i][j] {
				return fmt.Errorf("row %d, number %d is %v, want %v", i, j, got[i][j], want[i][j])
			}
		}
	}
	return nil
}

// wantKind checks an error's kind.
func wantKind(t testing.TB, err error, kind quality.Kind) {
	t.Helper()
	if !errors.Is(err, &quality.Error{Kind: kind}) {
		t.Errorf("error = %v, want kind %s", err, kind)
	}
}

// metrics reads what was counted.
type metrics struct {
	reader   *metric.ManualReader
	provider *metric.MeterProvider
}

func newMetrics(t testing.TB) *metrics {
	reader := metric.NewManualReader()
	provider := metric.NewMeterProvider(metric.WithReader(reader))
	t.Cleanup(func() { _ = provider.Shutdown(context.Background()) })
	return &metrics{reader: reader, provider: provider}
}

// values returns every point of an instrument, by its attributes in the order
// of their names ("cache=text,layer=redis,outcome=hit").
func (m *metrics) values(t testing.TB, instrument string) map[string]int64 {
	t.Helper()
	return metricstest.Values(t, m.reader, instrument)
}
