// Package tritonclient is the gateway's side of Triton's gRPC protocol
// (KServe v2 with Triton's extensions): it turns images, prompts and
// embeddings into tensors, sends them with a deadline, and turns replies back
// into domain values after checking every one of them.
//
// [Client] implements [quality.ImageEncoder], [quality.TextEncoder],
// [quality.Judge], [quality.PanelJudge] and [quality.Ensemble], describes the
// encoders that a server holds, probes health by a real inference, and controls
// models (index, load, unload) on every replica.
//
// It refuses to trust a reply: names, data types, shapes, byte lengths,
// finiteness and unit norm are checked, and a reply that fails is a
// model_bad_output. (A panel's numbers are left for the caller to check: each
// column is another checkpoint's.) It refuses to start work that cannot finish in time, to
// send more than it may have in flight, and to retry: a request goes out a
// second time, to another replica, only when it is certain that the first did
// no work on it, and what a living server refused only within a budget. A
// replica that fails gets no work for a while. It gives no work to a server whose encoder is not the one it
// described.
//
// It stands between scoring, which knows no gRPC, and inferencepb, which
// knows no domain. Every gRPC code becomes a [quality.Kind] here, in the one
// table of classify.go. Package tritontest is a server for tests that speaks
// the same protocol.
package tritonclient
