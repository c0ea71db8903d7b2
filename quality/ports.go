package quality

import "context"

// ImageEncoder turns images into embeddings.
//
// It returns one embedding per image, in order; an error concerns the whole
// call. Errors are *[Error] of kind model_unavailable, overloaded,
// deadline_exceeded or model_bad_output.
//
// Here as in all calls that compute, e is the encoder that the caller's request
// began with. What is returned is proven to be of it, whatever the servers hold
// by now; where that can't be proven, the call is a model_unavailable.
type ImageEncoder interface {
	EncodeImages(ctx context.Context, e Encoder, images []Pixels) ([]Embedding, error)
}

// TextEncoder turns the prompts of a checkpoint into its text embeddings, with
// the errors of [ImageEncoder].
type TextEncoder interface {
	EncodePrompts(ctx context.Context, e Encoder, prompts Prompts) ([]Embedding, error)
}

// HeadScorer lets a checkpoint's head score embeddings: one result per image, in
// order, with the errors of [ImageEncoder].
type HeadScorer interface {
	Score(ctx context.Context, e Encoder, c Checkpoint, text TextEmbeddings, images []Embedding) ([]HeadScore, error)
}

// PromptHeadScorer lets a checkpoint's head score embeddings of pictures with
// those of the prompts that they were made from, one for each picture, in order.
// It's the [HeadScorer] of checkpoints whose Prompt is true.
type PromptHeadScorer interface {
	ScoreWithPrompts(
		ctx context.Context, e Encoder, c Checkpoint, text TextEmbeddings, images, prompts []Embedding,
	) ([]HeadScore, error)
}

// Ensemble embeds and scores in one call, with the errors of [ImageEncoder].
// Both slices have one element per image, in order.
type Ensemble interface {
	EmbedAndScore(ctx context.Context, e Encoder, c Checkpoint, text TextEmbeddings,
		images []Pixels) ([]HeadScore, []Embedding, error)
}

// TextSource gives the six text embeddings of a checkpoint, wherever they come
// from. cached says that no text encoder ran for this call. Errors are those
// of [ImageEncoder].
type TextSource interface {
	TextEmbeddings(ctx context.Context, c Checkpoint) (text TextEmbeddings, cached bool, err error)
}

// PromptSource gives the embedding of the prompt that a picture was made from,
// wherever it comes from. cached says that no text encoder ran for this call.
// Errors are those of [ImageEncoder], and prompt_too_long.
type PromptSource interface {
	PromptEmbedding(ctx context.Context, prompt string) (e Embedding, cached bool, err error)
}

// EmbeddingKey identifies an image embedding: the same bytes, decoded and
// resized the same way, seen by the same encoder.
type EmbeddingKey struct {
	Image      Digest
	Preprocess PreprocessID
	Encoder    Digest // [Encoder.ImageIdentity]
}

// EmbeddingCache remembers image embeddings. It may be wrong about speed,
// never about truth: whatever goes wrong inside is a miss, or a Store that did
// not happen.
type EmbeddingCache interface {
	Lookup(ctx context.Context, key EmbeddingKey) (Embedding, bool)
	Store(ctx context.Context, key EmbeddingKey, e Embedding)
}
