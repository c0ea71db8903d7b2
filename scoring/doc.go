// Package scoring is the use case: image bytes in, scores of one or several
// prompt checkpoints out.
//
// It admits a request by what it costs, prepares its images, each once however
// many requests hold it, looks their embeddings up, asks
// Triton once for what is missing (one call to the ensemble for one
// checkpoint; for several the encoder once and then their panel, or without
// one the heads), judges, and says where each number came from and how long
// each stage took.
//
// It refuses to know HTTP, gRPC or Redis: it works on the ports of package
// quality and is traced and measured through the OpenTelemetry API only. It
// stands between gateway, which speaks to clients, and the adapters
// (tritonclient, cache, imageprep) that cmd hands to it.
package scoring
