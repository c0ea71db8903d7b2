// Package lifecycle changes the checkpoints of a running server: it imports them,
// makes one the default, rolls the default back, and removes them.
//
// A [Library] is the current set: shipped bundles, which never change, and
// imported ones in a folder of their own, with the names of the default and the
// previous default. Readers take an immutable [Snapshot], so a request keeps the
// checkpoints that it began with. A [Manager] changes the library together with
// the inference servers.
//
// The order of steps is what matters here. An import checks everything before it
// changes anything, makes its changes in steps that can be undone, and makes the
// checkpoint selectable last. So a checkpoint that a request can name is on every
// server, has its text embeddings, and has passed its golden scores.
//
// [Panels] manages the models that score an image by several checkpoints in one
// call.
//
// The package doesn't know how servers are reached: it declares what it needs of
// them ([Servers], [ModelFolder], [Texts]), and package server passes in Triton
// and the caches. It isn't in the path of a request.
package lifecycle
