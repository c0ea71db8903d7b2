// Package stubtriton is a Triton without models: it speaks the protocol over
// real gRPC, describes the models of a repository by their own config.pbtxt,
// takes a set time for each request, and answers numbers of the right shape.
// What is measured in front of it is the gateway, and nothing that a model
// costs.
//
// An embedding is a unit vector made from a hash of the input, so that equal
// inputs have equal answers and others do not; similarities are true dot
// products; the score is made of them and says nothing of any image. It
// refuses models that its repository does not have and tensors whose bytes do
// not fit their shape.
//
// Each model works on so many requests at once as it has instances; further
// ones wait, and their wait is in the statistics. It batches nothing by itself.
//
// With an engine, a program that embeds images, the encoder is real: images are
// batched for it as Triton would, and everything else stays a stub. That is how
// benchmarks/gpu.sh puts a gateway in front of a GPU without a Triton.
//
// "agiqa bench stub-triton" runs it. It serves measurements; the server for
// tests, which can fail and lie, is tritonclient/tritontest.
package stubtriton
