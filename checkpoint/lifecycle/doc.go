// Package lifecycle changes the checkpoints of a running server: it imports them,
// makes one the default, rolls the default back, and removes them.
//
// What should be served is the desired state in a store, which any number of
// gateways share (package desired). A [Library] is what one gateway serves of it:
// shipped bundles, which never change, and imported ones, of which the data folder
// has a copy. Readers take an immutable [Snapshot], so a request keeps the
// checkpoints that it began with. A [Manager] writes changes to the store, and
// makes the library and the inference servers follow it: whoever changed it.
//
// The order of steps is what matters here. An import checks everything before it
// changes anything, makes its changes in steps that can be undone, and makes the
// checkpoint selectable last. So a checkpoint that a request can name is on every
// server, has its text embeddings, and has passed its golden scores. A removal goes
// the other way: a head is unloaded once no request and no other gateway uses it,
// which leases in the store tell.
//
// [Panels] manages the models that score an image by several checkpoints in one
// call.
//
// The package doesn't know how servers are reached: it declares what it needs of
// them ([Servers], [ModelFolder], [Texts]), and package server passes in Triton
// and the caches. It isn't in the path of a request.
package lifecycle
