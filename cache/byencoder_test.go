package cache_test

import (
	"testing"

	"github.com/agiqa/agiqa/cache"
	"github.com/agiqa/agiqa/quality"
)

// TestByEncoder: caches are exchanged as a whole with the encoder, and what the
// stores keep of one encoder is never found under another.
func TestByEncoder(t *testing.T) {
	source, c, key, vector := &fakeSource{}, checkpointNamed("a"), imageKey("a"), unit(testDim, 1)
	texts := cache.DefaultTextsConfig()
	texts.Memory = newMemory(t)
	images := cache.DefaultImagesConfig()
	images.Store = newMemory(t)
	b := cache.NewByEncoder(texts, &images, source)

	if _, _, err := b.TextEmbeddings(t.Context(), c); quality.KindOf(err) != quality.KindModelUnavailable {
		t.Errorf("without an encoder: error %v, want model_unavailable", err)
	}
	var embeddings quality.EmbeddingCache
	uses := 0
	switchTo := func(e quality.Encoder, want bool) {
		t.Helper()
		switched, err := b.Switch(t.Context(), e, func(_ *cache.Texts, images quality.EmbeddingCache) {
			uses,
				embeddings = uses+1, images
		})
		if err != nil || switched != want || b.Encoder() != e {
			t.Fatalf("switch to %s: %t, %v; encoder %s", e.Name, switched, err, b.Encoder().Name)
		}
	}
	found := func() bool { _, ok := embeddings.Lookup(t.Context(), key); return ok }

	switchTo(testEncoder, true)
	switchTo(testEncoder, false)
	if _, cached, err := b.TextEmbeddings(t.Context(), c); cached || err != nil {
		t.Errorf("the first time: cached %t, %v", cached, err)
	}
	embeddings.Store(t.Context(), key, vector)
	if !found() {
		t.Error("an image embedding is not kept")
	}
	other := testEncoder
	other.Name, other.Digest = "other", quality.DigestOf([]byte("other encoder"))
	switchTo(other, true)
	if found() {
		t.Error("the other encoder's cache has this one's embedding")
	}
	if _, _, err := b.TextEmbeddings(t.Context(), c); err == nil {
		t.Error("the other encoder's cache has this one's text embeddings")
	}
	switchTo(testEncoder, true)
	if _, cached, err := b.TextEmbeddings(t.Context(), c); !cached || err != nil || !found() {
		t.Errorf("back again: cached %t, %v, image found %t", cached, err, found())
	}
	if uses != 3 || source.count("a") != 1 {
		t.Errorf("caches were handed over %d times, prompts encoded %d times; want 3 and 1", uses, source.count("a"))
	}
	if err := b.Close(t.Context()); err != nil || b.Encoder() != (quality.Encoder{}) {
		t.Errorf("close: %v, encoder %+v", err, b.Encoder())
	}
}

// TestByEncoderKeepsNoImages: no cache is nil, not an interface around nil.
func TestByEncoderKeepsNoImages(t *testing.T) {
	texts := cache.DefaultTextsConfig()
	texts.Memory = newMemory(t)
	b := cache.NewByEncoder(texts, nil, &fakeSource{})
	switched, err := b.Switch(t.Context(), testEncoder, func(_ *cache.Texts, images quality.EmbeddingCache) {
		if images != nil {
			t.Errorf("image embeddings go to %v", images)
		}
	})
	if !switched || err != nil {
		t.Fatal(switched, err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestByEncoderKeepsTheOldCachesOnAFault: a configuration that makes no caches
// changes nothing.
func TestByEncoderKeepsTheOldCachesOnAFault(t *testing.T) {
	b := cache.NewByEncoder(cache.DefaultTextsConfig(), nil, &fakeSource{}) // no store
	switched, err := b.Switch(t.Context(), testEncoder,
		func(*cache.Texts, quality.EmbeddingCache) { t.Error("handed over") })
	if switched || err == nil || b.Encoder() != (quality.Encoder{}) {
		t.Errorf("switched %t, %v, encoder %+v", switched, err, b.Encoder())
	}
}

// TestByEncoderForgets: requests of the encoder before still get their prompts
// encoded, until it is forgotten.
func TestByEncoderForgets(t *testing.T) {
	texts := cache.DefaultTextsConfig()
	texts.Memory = newMemory(t)
	b := cache.NewByEncoder(texts, nil, &fakeSource{})
	other := testEncoder
	other.Name, other.Digest = "other", quality.DigestOf([]byte("other encoder"))
	var handed []*cache.Texts
	for _, e := range []quality.Encoder{testEncoder, other} {
		if _, err := b.Switch(t.Context(), e, func(texts *cache.Texts, _ quality.EmbeddingCache) {
			handed = append(handed, texts)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, cached, err := handed[0].TextEmbeddings(t.Context(), checkpointNamed("a")); cached || err != nil {
		t.Errorf("after the move: cached %t, %v", cached, err)
	}
	if err := b.Forget(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, _, err := handed[0].TextEmbeddings(t.Context(), checkpointNamed("b")); err == nil {
		t.Error("the caches of an encoder that was forgotten still encode")
	}
	if err := b.Forget(t.Context()); err != nil {
		t.Errorf("forgotten twice: %v", err)
	}
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
