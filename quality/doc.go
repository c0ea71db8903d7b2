// Package quality is the domain of agiqa: images, embeddings, prompt checkpoints
// and scores, the kinds of errors, and the few interfaces through which the
// other packages use them.
//
// One idea carries the design: embed once, judge many. A frozen CLIP turns an
// image into one [Embedding]; a [Checkpoint] (six learned prompts and a small
// regression head, CLIP-AGIQA, arXiv 2408.15098) scores that embedding. The
// embedding doesn't depend on the checkpoint, so it's computed and cached once
// for all of them.
//
// The package knows neither transport nor storage: it imports only the standard
// library, without net/http and os. Every other package may import it.
package quality
