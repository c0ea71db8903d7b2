// Package cache caches text and image embeddings, so that no encoder runs twice
// for the same input.
//
// It has two decorators. [Texts] is a quality.TextSource: it asks memory, then
// Redis if there is one, then a [PromptEmbedder], and coalesces concurrent calls
// for the same checkpoint. [Images] is a quality.EmbeddingCache over one store.
// Both use a [Store], bytes by key, with two implementations that pass the same
// tests (package cachetest): [Memory], bounded in bytes, and [Redis], bounded in
// time, with a circuit breaker so that a dead server costs a request nothing.
//
// A cache may be wrong about speed, never about truth. A value carries its kind,
// shape, key hash, encoder and checkpoint digests. [Decode] verifies them all on
// each read. Others may be able to write to Redis, so a value there also carries
// a MAC under the deployment's secret ([Keyring]), which is verified first. A
// value that fails is deleted, counted, and treated as absent. A failing store is
// a miss, never a caller's error.
//
// The package doesn't know HTTP, Triton or how a prompt is assembled. Package
// scoring calls it, and it calls the encoders on a miss.
package cache
