// Package png decodes the PNG files that are common, quickly: 8 bits a sample,
// not interlaced, flawless. Of everything else it says no more than that it is
// not one of these, and image/png judges: whatever this package accepts,
// image/png accepts too, with the same samples. It writes into pooled memory
// and stands beside the decoders of imageprep.
package png
