// Package tritonclient is the gateway's side of Triton's gRPC protocol
// (KServe v2 with Triton's extensions): it turns images, prompts and
// embeddings into tensors, sends them with a deadline, and turns replies back
// into domain values after checking every one of them.
//
// [Client] implements [quality.ImageEncoder], [quality.TextEncoder],
// [quality.HeadScorer], [quality.PanelScorer] and [quality.Ensemble], describes the
// encoders that a server holds, probes health by a real inference, and controls
// models (index, load, unload) on every replica.
//
// It refuses to trust a reply: names, data types, shapes, byte lengths,
// finiteness and unit norm are checked, and a reply that fails is a
// model_bad_output. (A panel's numbers are left for the caller to check: each
// column is another checkpoint's.) It refuses to start work that cannot finish
// in time. It gives no work to a server whose encoder is not the one it
// described.
//
// It stands between scoring, which knows no gRPC, and inferencepb, which
// knows no domain. Package replicas below it owns the connections: which
// server is asked, which one gets no work for a while, what is sent a second
// time, and which [quality.Kind] a gRPC code is. Package tritontest is a server
// for tests that speaks the same protocol.
package tritonclient
