// Package native decodes JPEG with libjpeg-turbo and WebP with libwebp, the
// libraries that Pillow uses, where the machine has them. They are opened at
// run time, without a C compiler: nothing is linked, and a machine without
// them is served by package imageprep's own Go decoders, a few times slower
// and with the same pixels.
//
// Libraries: libturbojpeg.so.0 (libjpeg-turbo 2.0 and newer, 3.x included;
// Debian's libturbojpeg0) and libwebp.so.7 or libwebpdecoder.so.3 (Debian's
// libwebp7). They are found as the dynamic loader finds any library.
//
// # What keeps the process safe
//
// A fault in C code ends the process, so little is asked of it: imageprep
// gives it only files whose header passed its own reading and every limit, the
// size of the output is computed here and compared with what the library read
// before a sample is written, and the memory is Go's, which does not move, is
// kept alive for the length of the call, and is forgotten by the library when
// it returns. Every warning is an error: what a library does not find
// flawless, the Go decoder takes over.
//
// A call cannot be interrupted. Its length is bounded by imageprep's limits on
// pixels and scans.
//
// It works on Linux, amd64 and arm64; elsewhere, and with the build tag
// nonative, which makes a static binary, [Load] finds nothing.
package native
