// Package vp8l decodes a lossless WebP picture, RFC 9649 section 3, and gives its
// rows as RGB; alpha takes part in the decoding and is dropped.
//
// The entropy-coded pixels are decoded whole. Inverse transforms run row by row
// as [Image.Row] asks, over memory that stays in the cache.
//
// Data that ends before the last pixel's last bit is an error. Codes that don't
// use up all of their bits are too, as to libwebp; a code of a single symbol takes
// no bits. The caller bounds width and height beforehand.
package vp8l
