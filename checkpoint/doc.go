// Package checkpoint reads and writes prompt checkpoints: the learned prompts and
// the regression head that score an image embedding (CLIP-AGIQA, arXiv
// 2408.15098).
//
// A checkpoint is stored as a bundle, a folder with weights.safetensors and
// manifest.json. [Open] reads one and trusts nothing in it: it checks sizes,
// shapes, finite values and the content digest before it builds anything.
// [OpenOriginal] reads what the original training code saves, and [Encode] turns
// it into a bundle once golden cases exist. A [Registry] is an immutable set of
// bundles by name and digest. [Materialize] writes a bundle's models for Triton:
// the head, as a graph and as NumPy, and the ensemble that puts it behind the
// image encoder.
//
// It never executes anything found in a file (package torchfile reads pickles as
// data) and doesn't talk to Triton: package checkpoint/tritonmodels loads the
// models, and the text encoder encodes the prompts.
package checkpoint
