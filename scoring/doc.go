// Package scoring is the use case: image bytes in, scores by one or several
// prompt checkpoints out.
//
// A request goes through steps, each of which returns a value that the next
// one takes and nobody changes:
//
//	inspect   items    -> images     headers read, equal files once
//	admit     images   -> images     embeddings looked up; a turn by cost
//	embed     images   -> embedded   decoded and encoded, where unknown
//	score     embedded -> scored     by the ensemble, the panel or the heads
//
// The embed step is a chain of embedders: cacheFirst takes what the look-up
// found, coalescing has equal images of different requests embedded once,
// encoding decodes and calls Triton, whose calls batching joins. For one
// checkpoint that call is the ensemble, which also scores.
//
// An embedding is cached in one sense: no image encoder ran for it in this
// request, because the cache or another request had it.
//
// Scoring refuses to know HTTP, gRPC or Redis: it works on the ports of package
// quality and is traced and measured through the OpenTelemetry API only. It
// stands between gateway, which speaks to clients, and the adapters
// (tritonclient, cache, imageprep) that server hands to it.
package scoring
