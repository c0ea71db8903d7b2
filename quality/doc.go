// Package quality is the domain of agiqa: what an image, an embedding, a
// prompt checkpoint and a score are, and the few interfaces through which the
// rest of the house talks about them.
//
// One idea carries it: embed once, judge many. A frozen CLIP turns an image
// into one [Embedding]; a [Checkpoint] (six learned prompts and a small
// regression head, CLIP-AGIQA, arXiv 2408.15098) judges that embedding. The
// embedding does not depend on the checkpoint, so it is computed and cached
// once for all of them.
//
// The package refuses to know how anything travels or is stored: it imports
// the standard library only, and neither net/http nor os. It stands at the
// bottom of every import chain.
package quality
