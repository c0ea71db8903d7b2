// Package native decodes WebP with libwebp, the library that Pillow uses, where
// the machine has it. It is opened at run time, without a C compiler: nothing is
// linked, and a machine without it is served by package imageprep's own
// decoders, which give the same pixels.
//
// The library is libwebp.so.7 or libwebpdecoder.so.3 (Debian's libwebp7), found
// as the dynamic loader finds any library.
//
// # What keeps the process safe
//
// A fault in C code ends the process, so little is asked of it: imageprep
// gives it only files whose header passed its own reading and every limit, the
// size of the output is computed here and compared with what the library read
// before a sample is written, and the memory is Go's, which does not move, is
// kept alive for the length of the call, and is forgotten by the library when
// it returns. What the library refuses, the Go decoder looks at once more.
//
// A call cannot be interrupted. Its length is bounded by imageprep's limits on
// pixels.
//
// It works on Linux, amd64 and arm64; elsewhere, and with the build tag
// nonative, which makes a static binary, [Load] finds nothing.
package native
