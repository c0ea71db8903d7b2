// Package tritontest is a Triton for tests: a real gRPC server on a loopback
// port that speaks the protocol of inferencepb, holds small deterministic
// models, and misbehaves on request. It can delay, fail with any code and
// message, send wrong replies, lose models, and go away and come back on the
// same port; it counts calls and keeps the last request of each model.
//
// It refuses what Triton refuses, in Triton's words: unknown models, wrong
// tensors, batches over the limit. What it does not have is a queue, a
// scheduler and real weights: [Conformance] is the suite that it and a real
// server both pass, and a test that passes here only is not worth much.
//
//	triton := tritontest.New(t, tritontest.WithCheckpoints(cp))
//	client, err := tritonclient.New(triton.Config())
//	...
//	if n := triton.Calls(cp.EnsembleModel()); n != 1 { ... }
package tritontest
