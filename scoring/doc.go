// Package scoring is the use case: image bytes in, scores by one or several
// prompt checkpoints out.
//
// A request goes through steps, each of which returns a value that the next
// one takes and nobody changes:
//
//	inspect   items    -> images     headers read, equal files once
//	admit     rows     -> rows       embeddings looked up; a turn by cost
//	embed     rows     -> embedded   decoded and encoded, where unknown
//	score     embedded -> rows       by the ensemble, the panel or the heads
//	join      rows     -> scored     means over the views of each checkpoint
//
// A row is one view of one image: what the encoder takes. An image has a row for
// each view that a checkpoint of the request has, and all of them come from one
// decode. Where a checkpoint reads the prompts of pictures, equal files with two
// prompts are two images, whose embeddings are made once all the same. The embed
// step is a chain of embedders: cacheFirst takes what the look-up found,
// coalescing has equal rows of different requests embedded once, encoding
// decodes and calls Triton, whose calls batching joins. For one checkpoint that
// call is the ensemble, which also scores.
//
// An image is cached in one sense: no image encoder ran for its rows in this
// request, because the cache or another request had it.
//
// Scoring refuses to know HTTP, gRPC or Redis: it works on the ports of package
// quality and is traced and measured through the OpenTelemetry API only. It
// stands between gateway, which speaks to clients, and the adapters
// (tritonclient, cache, imageprep) that server hands to it.
package scoring
