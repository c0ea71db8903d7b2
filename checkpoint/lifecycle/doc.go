// Package lifecycle changes which checkpoints a running server has: it takes
// them in, makes one the default, goes back, and takes them out.
//
// A [Library] is what there is: shipped bundles, which nobody changes, and
// imported ones in a folder of their own, with the names of the default and of
// the one before it. Readers take a [Snapshot], which never changes, so a
// request keeps the checkpoints that it began with. A [Manager] changes the
// library together with the inference servers.
//
// Order is what the package is about. An import checks everything before it
// changes anything; what it changes it changes in steps that can be undone;
// and the step that makes a checkpoint selectable comes last. So a checkpoint
// that can be named is one that every server has, whose text embeddings are
// known, and whose golden scores came out right.
//
// [Panels] keeps, beside the requests, the models that judge by several
// checkpoints in one call.
//
// The package refuses to know how servers are reached: it declares what it
// needs of them ([Servers], [ModelFolder], [Texts]), and package main brings
// Triton and the caches. It stands beside the use case, not in the way of a
// request.
package lifecycle
