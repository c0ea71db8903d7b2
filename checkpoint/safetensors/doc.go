// Package safetensors reads and writes the safetensors file format: a header
// of JSON that names tensors, then their bytes. Reading executes nothing,
// which is why checkpoints travel in it.
//
// Layout: a little-endian uint64 N, N bytes of JSON, the data. The JSON maps
// each name to {"dtype","shape","data_offsets":[begin,end]}, offsets counted
// from the start of the data; "__metadata__" maps strings to strings.
//
// The reader treats the file as a stranger's. It refuses every header that is
// not exact: unknown or repeated keys, names that look like paths, sizes that
// disagree with shapes, tensors that overlap or leave gaps, and numbers that
// are not finite. It reads F32 only; any other type is an error that names it.
// The writer gives the same bytes for the same tensors.
//
// It stands below package checkpoint, which knows what the tensors mean.
package safetensors
