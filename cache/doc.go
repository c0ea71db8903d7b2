// Package cache remembers text and image embeddings, so that no encoder runs
// twice for the same input.
//
// Two decorators stand at its door. [Texts] is a quality.TextSource: it asks
// memory, then Redis if there is one, then a [PromptEmbedder], which it runs
// once however many callers wait. [Images] is a quality.EmbeddingCache over
// one store. Below them is [Store], bytes by key, with two implementations
// that pass the same suite (package cachetest): [Memory], bounded in bytes,
// and [Redis], bounded in time, with a circuit breaker in front so that a dead
// server costs nothing per request.
//
// The package may be wrong about speed, never about truth. A value carries its
// kind, shape, key hash, encoder and checkpoint digests and a checksum, all of
// them verified on every read ([Decode]); one that fails is deleted, counted,
// and treated as absent. A store that fails is a miss, never a caller's error.
//
// It refuses to know HTTP, Triton or how a prompt is assembled. It stands
// between scoring, which calls it, and the encoders, which it spares.
package cache
