// Package tritonload makes Triton itself a target of benchmarks/load: it asks
// the image encoder, a checkpoint's head or its ensemble over gRPC, without the
// gateway, by the client that the gateway uses. What a model costs does not
// depend on what a picture shows, so the pixels and the text embeddings are
// drawn from a seed.
//
// It also reads what Triton counted meanwhile ([Backend]), whoever asked:
// batch sizes, time in the queue and time in the model.
package tritonload
