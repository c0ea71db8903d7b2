// Package jpeg decodes JPEG as libjpeg-turbo does with its default settings:
// the accurate integer inverse DCT ("islow"), triangle ("fancy") chroma
// upsampling and its fixed-point colour conversion. Every sample is the one
// that Pillow sees, which Go's image/jpeg, with another DCT and replicated
// chroma, does not give.
//
// It decodes baseline, extended sequential and progressive Huffman files of 8
// bits with one, three or four components and any integral sampling ratio, and
// keeps planes, not RGB: [Image.Row] upsamples and converts one row at a time.
// It refuses arithmetic coding, lossless and hierarchical modes, 12 bits and
// fractional sampling ratios.
//
// Where libjpeg only warns about damage and goes on with invented samples,
// this package returns [ErrCorrupt]: a score of such an image would mean
// nothing. libjpeg's smoothing of progressive files that never send their
// fine AC bits is left out too. The caller bounds width, height and the number
// of scans beforehand; imageprep does, from its own look at the markers.
package jpeg
