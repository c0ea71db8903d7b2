package cache

import (
	"github.com/agiqa/agiqa/quality"
)

// schema is part of every key and of every key hash. Servers of two releases
// that share a Redis never read each other's values when it differs, so raise
// it with the format of values, and with anything that changes the numbers and
// is not a field of the key. (Version 2 of the format came with sealing, which
// changed the names in Redis by itself.)
const schema = "v1"

// slot is one place in a store: the name under which a value is kept and what
// the value must say of itself.
type slot struct {
	key string
	id  Identity
}

// newSlot derives the name from the identity:
//
//	agiqa:v1:text:{0123456789abcdef}:<64 hexadecimal digits>
//
// In Redis, a colon and the ID of the secret that seals the value follow.
// The digits in braces begin the encoder's digest. In a Redis cluster they
// choose the hash slot; to a person they say which keys an encoder that is
// gone has left behind. Nothing in a name comes from a client.
func newSlot(word string, id Identity) slot {
	return slot{
		key: "agiqa:" + schema + ":" + word + ":{" + id.Encoder.Short() + "}:" + id.Key.Hex(),
		id:  id,
	}
}

// textSlot returns the place of a checkpoint's text embeddings.
func textSlot(encoder quality.Encoder, recipe string, c quality.Checkpoint) slot {
	key := quality.NewFieldHash().
		String("agiqa text embeddings " + schema).
		Bytes(encoder.Digest[:]).
		String(recipe).
		Bytes(c.Digest[:]).
		Sum()
	return newSlot("text", Identity{
		Kind: KindText, Key: key, Encoder: encoder.Digest, Checkpoint: c.Digest,
		Rows: quality.CategoryCount, Dim: encoder.Dim,
	})
}

// promptSlot returns the place of the embedding of a picture's prompt. The text
// itself is neither in the name nor in the value.
func promptSlot(encoder quality.Encoder, prompt string) slot {
	text := quality.DigestOf([]byte(prompt))
	key := quality.NewFieldHash().
		String("agiqa prompt embedding " + schema).
		Bytes(encoder.Digest[:]).
		Bytes(text[:]).
		Sum()
	return newSlot("prompt", Identity{
		Kind: KindPrompt, Key: key, Encoder: encoder.Digest, Rows: 1, Dim: encoder.Dim,
	})
}

// imageSlot returns the place of an image embedding of length dim.
func imageSlot(k quality.EmbeddingKey, dim int) slot {
	key := quality.NewFieldHash().
		String("agiqa image embedding " + schema).
		Bytes(k.Encoder[:]).
		String(string(k.Preprocess)).
		Bytes(k.Image[:]).
		Sum()
	return newSlot("image", Identity{
		Kind: KindImage, Key: key, Encoder: k.Encoder, Rows: 1, Dim: dim,
	})
}
