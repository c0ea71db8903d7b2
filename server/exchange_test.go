package server_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/cache/redistest"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/imageprep"
	"github.com/agiqa/agiqa/internal/pictures"
	"github.com/agiqa/agiqa/quality"
	"github.com/agiqa/agiqa/scoring"
	"github.com/agiqa/agiqa/server"
	"github.com/agiqa/agiqa/tritonclient"
	"github.com/agiqa/agiqa/tritonclient/tritontest"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// exchangedImages is how many images a request has when the encoder changes
// under it.
const exchangedImages = 32

// exchangeRig is what scores in a gateway, without what follows the encoder:
// it goes on with the encoder that it began with, as a request does.
type exchangeRig struct {
	service *scoring.Service
	encoder quality.Encoder
}

func newExchangeRig(t *testing.T, triton *tritontest.Server, library *lifecycle.Library, redis string) exchangeRig {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	client, err := tritonclient.New(triton.Config())
	must(err)
	t.Cleanup(func() { must(client.Close()) })
	preparer, err := imageprep.New(imageprep.DefaultConfig())
	must(err)
	service, err := scoring.New(scoring.DefaultConfig(), scoring.Deps{
		Preparer: preparer, Triton: client, Tracer: tracenoop.NewTracerProvider(), Meter: metricnoop.NewMeterProvider(),
	})
	must(err)
	memory := func() *cache.Memory {
		m, err := cache.NewMemory(cache.DefaultMemoryConfig())
		must(err)
		t.Cleanup(func() { must(m.Close()) })
		return m
	}
	texts, images := cache.DefaultTextsConfig(), cache.DefaultImagesConfig()
	texts.Memory, images.Store = memory(), memory()
	if redis != "" {
		cfg := cache.DefaultRedisConfig()
		cfg.URL, cfg.OperationTimeout, cfg.DialTimeout = redis, 5*time.Second, 5*time.Second
		store, err := cache.NewRedis(cfg)
		must(err)
		t.Cleanup(func() { must(store.Close()) })
		keys, err := cache.NewKeyring([]byte("a secret of thirty-two characters"), nil)
		must(err)
		texts.Remote, texts.Keys, images.Remote, images.Keys = store, keys, store, keys
	}
	caches := cache.NewByEncoder(texts, &images, scoring.PromptEncoder{Assembler: library, Encoder: client})
	t.Cleanup(func() { must(caches.Close(context.WithoutCancel(t.Context()))) })
	encoder, err := client.Describe(t.Context())
	must(err)
	_, err = caches.Switch(t.Context(), encoder, func(texts *cache.Texts, embeddings quality.EmbeddingCache) {
		service.Use(&scoring.Models{Encoder: encoder, Texts: texts, Prompts: texts, Embeddings: embeddings})
	})
	must(err)
	return exchangeRig{service, encoder}
}

// score asks for the scores of all images by checkpoints: nil for an image that
// got none.
func (r exchangeRig) score(t *testing.T, items []scoring.Item, checkpoints []quality.Checkpoint) [][]float32 {
	t.Helper()
	out := make([][]float32, len(items))
	response, err := r.service.Score(t.Context(), scoring.Request{Items: items, Checkpoints: checkpoints})
	if err != nil {
		if kind := quality.KindOf(err); !kind.Temporary() {
			t.Errorf("a request met an exchange of the encoder: %v, want one that may be tried again", err)
		}
		return out
	}
	for i, result := range response.Results {
		for _, s := range result.Scores {
			if s.Err == nil {
				out[i] = append(out[i], s.Score)
			}
		}
	}
	return out
}

// wrong counts the scores of got that are there and differ from want's.
func wrong(got, want [][]float32) (n int) {
	for i := range got {
		for k := range got[i] {
			if got[i][k] != want[i][k] {
				n++
				break
			}
		}
	}
	return n
}

// TestEncoderExchangedUnderARequest has Triton come back with another encoder
// of the same size while it works on a request, and with the first one again
// after it. No score may be wrong then: neither that request's, nor one that
// is made of what it left in memory or in Redis, by this gateway or another.
func TestEncoderExchangedUnderARequest(t *testing.T) {
	set := settings(t)
	library, err := server.OpenLibrary(set)
	if err != nil {
		t.Fatal(err)
	}
	var items []scoring.Item
	for i := range uint64(exchangedImages) {
		data, err := pictures.PNG(pictures.Canary(i))
		if err != nil {
			t.Fatal(err)
		}
		items = append(items, scoring.Item{ID: fmt.Sprint(i), Data: data})
	}
	for _, test := range []struct {
		name        string
		checkpoints int
		exchangedIn func(c quality.Checkpoint) string // the model whose call meets the exchange
	}{
		{"images, encoder", 2, func(quality.Checkpoint) string { return tritontest.ImageEncoder }},
		{"images, ensemble", 1, quality.Checkpoint.EnsembleModel},
		{"prompts", 1, func(quality.Checkpoint) string { return tritontest.TextEncoder }},
	} {
		for _, store := range []string{"memory", "redis"} {
			t.Run(test.name+", "+store, func(t *testing.T) {
				redis := ""
				if store == "redis" {
					redis = redistest.Start(t).URL()
				}
				triton := fakeTriton(t, set)
				before := triton.Encoder()
				after := before
				after.Name, after.Digest = "another", quality.DigestOf([]byte("another encoder"))
				var checkpoints []quality.Checkpoint
				for _, e := range library.Snapshot().List() {
					if e.Checkpoint.Encoder == before.Digest && len(checkpoints) < test.checkpoints {
						checkpoints = append(checkpoints, e.Checkpoint)
					}
				}
				if len(checkpoints) < test.checkpoints {
					t.Fatalf("%d checkpoints of the encoder, want %d", len(checkpoints), test.checkpoints)
				}
				want := newExchangeRig(t, fakeTriton(t, set), library, "").score(t, items, checkpoints)

				first := newExchangeRig(t, triton, library, redis)
				var once sync.Once
				triton.OnInfer(test.exchangedIn(checkpoints[0]), func(context.Context, *pb.ModelInferRequest) error {
					once.Do(func() { triton.Exchange(after) })
					return nil
				})
				during := wrong(first.score(t, items, checkpoints), want)
				if triton.Encoder() != after {
					t.Fatal("the encoder was not exchanged: no call was made")
				}
				triton.Heal()
				triton.Exchange(before)
				again := first.score(t, items, checkpoints)
				second := newExchangeRig(t, triton, library, redis).score(t, items, checkpoints)
				t.Logf("wrong scores: %d during the exchange, %d after the way back, %d by another gateway, of %d",
					during, wrong(again, want), wrong(second, want), len(items))
				if n := during + wrong(again, want) + wrong(second, want); n > 0 {
					t.Errorf("%d wrong scores, want none", n)
				}
				for name, got := range map[string][][]float32{"this": again, "another": second} {
					for i := range got {
						if got[i] == nil {
							t.Fatalf("image %d has no score by %s gateway after the way back", i, name)
						}
					}
				}
			})
		}
	}
}
