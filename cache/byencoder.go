package cache

import (
	"context"
	"errors"
	"sync"

	"github.com/agiqa/agiqa/quality"
)

// ByEncoder holds the caches of the encoder in use, and of the one before while
// servers still hold that. They are made for one encoder and replaced as a whole
// when another one appears, so that a value of one never meets the other. It's
// safe for concurrent use.
type ByEncoder struct {
	texts  TextsConfig
	images *ImagesConfig // nil: image embeddings are not kept
	source PromptEmbedder

	mu      sync.Mutex
	encoder quality.Encoder
	current caches
	before  caches // of the encoder before; zero: given up
}

// caches are those of one encoder.
type caches struct {
	texts  *Texts
	images *Images // nil: none are kept
}

// NewByEncoder returns a ByEncoder that makes caches by these configurations,
// whose Encoder it sets. images may be nil. It must be closed; stores are their
// owner's to close, after it.
func NewByEncoder(texts TextsConfig, images *ImagesConfig, source PromptEmbedder) *ByEncoder {
	return &ByEncoder{texts: texts, images: images, source: source}
}

// Switch makes the caches of an encoder and hands them to use. Those of the
// encoder before stay open until [ByEncoder.Forget] or the next switch. It does
// nothing, and returns false, where that encoder is in use already. embeddings is
// nil where none are kept.
func (b *ByEncoder) Switch(
	ctx context.Context, encoder quality.Encoder, use func(texts *Texts, embeddings quality.EmbeddingCache),
) (switched bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if encoder == b.encoder {
		return false, nil
	}
	next, err := b.build(ctx, encoder)
	if err != nil {
		return false, err
	}
	if next.images == nil {
		use(next.texts, nil)
	} else {
		use(next.texts, next.images)
	}
	oldest := b.before
	b.encoder, b.before, b.current = encoder, b.current, next
	return true, oldest.close(ctx)
}

// Forget closes the caches of the encoder before the one in use.
func (b *ByEncoder) Forget(ctx context.Context) error {
	b.mu.Lock()
	before := b.before
	b.before = caches{}
	b.mu.Unlock()
	return before.close(ctx)
}

func (b *ByEncoder) build(ctx context.Context, encoder quality.Encoder) (caches, error) {
	texts := b.texts
	texts.Encoder = encoder
	var next caches
	var err error
	if next.texts, err = NewTexts(texts, b.source); err != nil {
		return caches{}, err
	}
	if b.images == nil {
		return next, nil
	}
	images := *b.images
	images.Encoder = encoder
	if next.images, err = NewImages(images); err != nil {
		return caches{}, errors.Join(err, next.close(ctx))
	}
	return next, nil
}

// Encoder returns the encoder in use; the zero value while there is none.
func (b *ByEncoder) Encoder() quality.Encoder {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.encoder
}

// TextEmbeddings implements [quality.TextSource] for the encoder in use:
// model_unavailable while there is none.
func (b *ByEncoder) TextEmbeddings(ctx context.Context, c quality.Checkpoint) (quality.TextEmbeddings, bool, error) {
	b.mu.Lock()
	texts := b.current.texts
	b.mu.Unlock()
	if texts == nil {
		return quality.TextEmbeddings{}, false, quality.Errorf(quality.KindModelUnavailable, "the encoder is not known yet")
	}
	return texts.TextEmbeddings(ctx, c)
}

// PromptEmbedding implements [quality.PromptSource] for the encoder in use:
// model_unavailable while there is none.
func (b *ByEncoder) PromptEmbedding(ctx context.Context, prompt string) (quality.Embedding, bool, error) {
	b.mu.Lock()
	texts := b.current.texts
	b.mu.Unlock()
	if texts == nil {
		return nil, false, quality.Errorf(quality.KindModelUnavailable, "the encoder is not known yet")
	}
	return texts.PromptEmbedding(ctx, prompt)
}

// Close closes all caches.
func (b *ByEncoder) Close(ctx context.Context) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	current, before := b.current, b.before
	b.encoder, b.current, b.before = quality.Encoder{}, caches{}, caches{}
	return errors.Join(current.close(ctx), before.close(ctx))
}

func (c caches) close(ctx context.Context) error {
	var err error
	if c.images != nil {
		err = c.images.Close(ctx)
	}
	if c.texts != nil {
		err = errors.Join(err, c.texts.Close(ctx))
	}
	return err
}
