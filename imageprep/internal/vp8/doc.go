// Package vp8 decodes the key frame of a lossy WebP picture, RFC 6386, and gives
// its rows as RGB with every value that libwebp gives by default: its "fancy"
// chroma upsampling and its fixed-point colour conversion.
//
// A frame is decoded whole, row of macroblocks by row: modes, coefficients,
// prediction and inverse transform into planes with a border, then the loop
// filter, one row behind, since the prediction of the row below wants unfiltered
// samples. [Image.Row] upsamples and converts one row at a time.
//
// Coefficients beyond what an encoder can produce wrap around in 16 bits, in
// steps and transforms, on every machine. A partition that ends before its last
// macroblock is an error, where libwebp would show what it has. The caller bounds
// width and height beforehand.
package vp8
