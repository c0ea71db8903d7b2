// Package checkpoint knows prompt checkpoints: the learned prompts and the
// regression head that judge an image embedding (CLIP-AGIQA, arXiv
// 2408.15098).
//
// A checkpoint arrives as a bundle, a folder of weights.safetensors and
// manifest.json. [Open] reads one and believes nothing: sizes, shapes, finite
// values and the content digest are checked before anything is built from it.
// [OpenOriginal] reads what the original's own training saves instead, and
// [Encode] makes a bundle of it once golden cases are there.
// A [Registry] is an unchanging set of bundles by name and digest.
// [Materialize] writes a bundle's models for Triton: the head, as a graph and
// as NumPy, and the ensemble that puts it behind the image encoder.
//
// It refuses to execute anything found in a file (pickles are read as data, by
// package torchfile), and to talk to Triton: loading models is the business of
// package tritonclient, encoding prompts that of package scoring. It stands
// between the files on disk and those two.
package checkpoint
