package cache_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/quality"
)

func imageKey(name string) quality.EmbeddingKey {
	return quality.EmbeddingKey{Image: quality.DigestOf([]byte(name)), Preprocess: "test/1",
		Encoder: testEncoder.ImageIdentity()}
}

func newImages(t testing.TB, change func(*cache.ImagesConfig)) *cache.Images {
	t.Helper()
	config := cache.DefaultImagesConfig()
	config.Encoder, config.Store = testEncoder, newMemory(t)
	config.Keys = keyring(t, "the deployment's secret", "")
	if change != nil {
		change(&config)
	}
	images, err := cache.NewImages(config)
	if err != nil {
		t.Fatal(err)
	}
	return images
}

func TestImages(t *testing.T) {
	m := newMetrics(t)
	images := newImages(t, func(c *cache.ImagesConfig) { c.Meter = m.provider })
	key, e := imageKey("a"), unit(testDim, 1)

	if got, ok := images.Lookup(t.Context(), key); ok {
		t.Errorf("Lookup before Store = %v, want nothing", got)
	}
	images.Store(t.Context(), key, e)
	got, ok := images.Lookup(t.Context(), key)
	if !ok || !cmp.Equal(got, e) {
		t.Errorf("Lookup = %v, %t; want %v", got, ok, e)
	}
	if diff := cmp.Diff(map[string]int64{
		"cache=image,layer=memory,outcome=hit":  1,
		"cache=image,layer=memory,outcome=miss": 1,
	}, m.values(t, "agiqa.cache.requests")); diff != "" {
		t.Errorf("agiqa.cache.requests (-want +got):\n%s", diff)
	}
}

func TestImagesKeyNamesEverythingThatMatters(t *testing.T) {
	images, key := newImages(t, nil), imageKey("a")
	images.Store(t.Context(), key, unit(testDim, 1))
	for _, test := range []struct {
		name   string
		change func(*quality.EmbeddingKey)
		want   bool
	}{
		{"the same", func(*quality.EmbeddingKey) {}, true},
		{"another image", func(k *quality.EmbeddingKey) { k.Image = quality.DigestOf([]byte("b")) }, false},
		{"another preprocessing", func(k *quality.EmbeddingKey) { k.Preprocess = "test/2" }, false},
		{"another encoder", func(k *quality.EmbeddingKey) { k.Encoder = quality.DigestOf([]byte("other")) }, false},
		{"another precision", func(k *quality.EmbeddingKey) {
			other := testEncoder
			other.Precision = "int8"
			k.Encoder = other.ImageIdentity()
		}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			k := key
			test.change(&k)
			if _, ok := images.Lookup(t.Context(), k); ok != test.want {
				t.Errorf("found = %t, want %t", ok, test.want)
			}
		})
	}
}

func TestImagesKeepsOnlyUnitVectorsOfItsEncoder(t *testing.T) {
	nan := unit(testDim, 1)
	nan[0] = float32(math.NaN())
	foreign := imageKey("a")
	foreign.Encoder = quality.DigestOf([]byte("other"))
	for _, test := range []struct {
		name string
		key  quality.EmbeddingKey
		e    quality.Embedding
		want map[string]int64
	}{
		{"missing", imageKey("a"), nil, map[string]int64{"cache=image,layer=memory,operation=write,reason=invalid": 1}},
		{"too short", imageKey("a"), unit(testDim-1, 1),
			map[string]int64{"cache=image,layer=memory,operation=write,reason=invalid": 1}},
		{"not a number", imageKey("a"), nan, map[string]int64{"cache=image,layer=memory,operation=write,reason=invalid": 1}},
		{"another encoder", foreign, unit(testDim, 1), map[string]int64{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, store := newMetrics(t), newMemory(t)
			images := newImages(t, func(c *cache.ImagesConfig) { c.Store, c.Meter = store, m.provider })
			images.Store(t.Context(), test.key, test.e)
			if got := store.Stats().Entries; got != 0 {
				t.Errorf("%d values were kept, want none", got)
			}
			if diff := cmp.Diff(test.want, m.values(t, "agiqa.cache.errors")); diff != "" {
				t.Errorf("agiqa.cache.errors (-want +got):\n%s", diff)
			}
		})
	}
}

// keySpy remembers the last key that was set.
type keySpy struct {
	cache.Store
	last string
}

func (s *keySpy) Set(ctx context.Context, key string, value []byte, ttl time.Duration) error {
	s.last = key
	return s.Store.Set(ctx, key, value, ttl)
}

func TestImagesDeletesACorruptValue(t *testing.T) {
	m, store := newMetrics(t), &keySpy{Store: newMemory(t)}
	images := newImages(t, func(c *cache.ImagesConfig) { c.Store, c.Meter = store, m.provider })
	key, e := imageKey("a"), unit(testDim, 1)
	images.Store(t.Context(), key, e)
	if !strings.HasPrefix(store.last, "agiqa:v1:image:{"+testEncoder.Digest.Short()+"}:") {
		t.Errorf("key = %q, want its readable prefix", store.last)
	}
	if err := store.Store.Set(t.Context(), store.last, []byte("not a value"), time.Hour); err != nil {
		t.Fatal(err)
	}
	if _, ok := images.Lookup(t.Context(), key); ok {
		t.Error("a corrupt value was returned")
	}
	if _, err := store.Get(t.Context(), store.last); !errors.Is(err, cache.ErrNotFound) {
		t.Errorf("the corrupt value is still there: %v", err)
	}
	images.Store(t.Context(), key, e)
	if got, ok := images.Lookup(t.Context(), key); !ok || !cmp.Equal(got, e) {
		t.Errorf("Lookup after a new Store = %v, %t; want %v", got, ok, e)
	}
	if diff := cmp.Diff(map[string]int64{
		"cache=image,layer=memory,outcome=hit":     1,
		"cache=image,layer=memory,outcome=invalid": 1,
	}, m.values(t, "agiqa.cache.requests")); diff != "" {
		t.Errorf("agiqa.cache.requests (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff(map[string]int64{
		"cache=image,layer=memory,operation=read,reason=invalid": 1,
	}, m.values(t, "agiqa.cache.errors")); diff != "" {
		t.Errorf("agiqa.cache.errors (-want +got):\n%s", diff)
	}
}

func TestImagesSurvivesABrokenStore(t *testing.T) {
	broken := cache.ErrUnavailable
	m, store := newMetrics(t), &faultyStore{Store: newMemory(t)}
	store.getErr.Store(&broken)
	store.setErr.Store(&broken)
	images := newImages(t, func(c *cache.ImagesConfig) { c.Store, c.Meter = store, m.provider })
	images.Store(t.Context(), imageKey("a"), unit(testDim, 1))
	if _, ok := images.Lookup(t.Context(), imageKey("a")); ok {
		t.Error("Lookup found something in a broken store")
	}
	if diff := cmp.Diff(map[string]int64{
		"cache=image,layer=memory,operation=read,reason=unavailable":  1,
		"cache=image,layer=memory,operation=write,reason=unavailable": 1,
	}, m.values(t, "agiqa.cache.errors")); diff != "" {
		t.Errorf("agiqa.cache.errors (-want +got):\n%s", diff)
	}
}

func TestImagesConfigNamesEveryFault(t *testing.T) {
	valid := cache.DefaultImagesConfig()
	valid.Encoder, valid.Store = testEncoder, newMemory(t)
	for _, test := range []struct {
		name   string
		config cache.ImagesConfig
		want   []string
	}{
		{"valid", valid, nil},
		{"zero", cache.ImagesConfig{}, []string{"Encoder.Digest", "Encoder.Dim", "Store", "TTL", "LogInterval"}},
		{"a remote store without keys",
			func() cache.ImagesConfig { c := valid; c.Remote = newMemory(t); return c }(), []string{"Keys"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := cache.NewImages(test.config)
			wantFaults(t, err, test.want)
		})
	}
}

func BenchmarkImagesLookup(b *testing.B) {
	encoder := testEncoder
	encoder.Dim = 512
	images := newImages(b, func(c *cache.ImagesConfig) { c.Encoder = encoder })
	key := imageKey("a")
	images.Store(b.Context(), key, unit(512, 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, ok := images.Lookup(b.Context(), key); !ok {
			b.Fatal("miss")
		}
	}
}

// Two layers: what memory does not know is asked of the remote store, and what
// that has is kept in memory.
func TestImagesInTwoLayers(t *testing.T) {
	m, remote := newMetrics(t), newMemory(t)
	change := func(c *cache.ImagesConfig) { c.Meter, c.Remote = m.provider, remote }
	first, key, e := newImages(t, change), imageKey("a"), unit(testDim, 1)
	if _, ok := first.Lookup(t.Context(), key); ok {
		t.Fatal("something was there before")
	}
	first.Store(t.Context(), key, e)
	if err := first.Close(t.Context()); err != nil { // waits for the write
		t.Fatal(err)
	}
	second := newImages(t, change) // another server, or this one after a restart
	for range 2 {
		if got, ok := second.Lookup(t.Context(), key); !ok || !cmp.Equal(got, e) {
			t.Errorf("Lookup = %v, %t; want %v", got, ok, e)
		}
	}
	if diff := cmp.Diff(map[string]int64{
		"cache=image,layer=memory,outcome=hit":  1,
		"cache=image,layer=memory,outcome=miss": 2,
		"cache=image,layer=redis,outcome=hit":   1,
		"cache=image,layer=redis,outcome=miss":  1,
	}, m.values(t, "agiqa.cache.requests")); diff != "" {
		t.Errorf("agiqa.cache.requests (-want +got):\n%s", diff)
	}
}

// brokenStore fails like a server that is away.
type brokenStore struct{ err error }

func (b brokenStore) Get(context.Context, string) ([]byte, error)              { return nil, b.err }
func (b brokenStore) Set(context.Context, string, []byte, time.Duration) error { return b.err }
func (b brokenStore) Delete(context.Context, string) error                     { return b.err }

func TestImagesSurviveTheirRemoteStore(t *testing.T) {
	images := newImages(t, func(c *cache.ImagesConfig) { c.Remote = brokenStore{cache.ErrUnavailable} })
	key, e := imageKey("a"), unit(testDim, 1)
	if _, ok := images.Lookup(t.Context(), key); ok {
		t.Error("found in a store that is away")
	}
	images.Store(t.Context(), key, e)
	if got, ok := images.Lookup(t.Context(), key); !ok || !cmp.Equal(got, e) {
		t.Errorf("Lookup = %v, %t; want it from memory", got, ok)
	}
	if err := images.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestImagesRefuseAnothersValueInTheRemoteStore(t *testing.T) {
	remote := newMemory(t)
	images := newImages(t, func(c *cache.ImagesConfig) { c.Remote = liar{remote} })
	images.Store(t.Context(), imageKey("a"), unit(testDim, 1))
	if err := images.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, ok := images.Lookup(t.Context(), imageKey("b")); ok {
		t.Errorf("Lookup of b = %v, which is a's", got)
	}
}

// liar answers every question with the first value that it was given.
type liar struct{ cache.Store }

func (l liar) Get(ctx context.Context, _ string) ([]byte, error) { return l.Store.Get(ctx, "first") }

func (l liar) Set(ctx context.Context, _ string, value []byte, ttl time.Duration) error {
	return l.Store.Set(ctx, "first", value, ttl)
}
