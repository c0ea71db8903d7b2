// Package imageprep turns untrusted bytes into the 224x224 RGB pixels that a
// CLIP encoder sees, exactly as training does:
//
//	PIL.Image.open(f).convert("RGB") -> Resize(224, bicubic) -> CenterCrop(224)
//
// and, for other views than "224", into cells of CenterCrop(S) after
// Resize(S): see [quality.View] and [BoxOf]. All views come from one decode.
//
// # Steps, one file each
//
// sniff (format by magic bytes; size, frames and scans from the header),
// limits (bytes, pixels, scans, memory), decode, rgb (rows as convert("RGB") gives them),
// axis and resize (Pillow's 8-bit fixed-point bicubic, over the passes of
// resample), crop, and prepare, which strings them together; stages is for who
// measures them apart. Nothing is allocated for pixels before every limit is checked
// against the header, and the decoded size is checked against the header
// again.
//
// # Memory and speed
//
// Planes, lines and tables of weights stay for the next image, in pools that
// are bounded by the memory budget: an image like the last one allocates
// nothing that grows with it, but for GIF and unusual PNG. Rows that lie in
// memory as RGB are read there. On amd64 the passes run vectorised for AVX2, or
// AVX-512 with VNNI ([Resampler] says which); the
// portable ones are the reference, and tests hold all equal in every bit.
//
// # How exact
//
// Golden files drawn by internal/testimages/make_goldens.py, and what Pillow
// 13.0.0 (libjpeg-turbo 3.2.0, libwebp 1.6.0) makes of them, are compared
// sample by sample: JPEG (baseline, progressive, every integral sampling ratio,
// gray, RGB, CMYK, YCCK), PNG (every colour type, depth and interlace), GIF and
// WebP (lossy, lossless, animated) are all equal in every bit, before and after
// the resize. JPEG and WebP have their own decoders for that (see their package
// comments).
// By hand, 100 generated photographs and re-encodings of them (JPEG 4:4:4,
// 4:2:2, 4:2:0, each baseline and progressive, gray, CMYK; PNG, GIF, WebP), 414
// files in all, were equal in every bit too: distance 0 at full size and after
// the resize. Go's own image/jpeg is off by up to 39 of 255 on such files.
//
// What Pillow does and a reader may not expect: alpha is dropped, not
// composited; a 16-bit gray PNG is clipped at 255, every other 16-bit one
// loses its low byte; four-component JPEG is always taken as inverted; EXIF
// orientation, ICC profiles and gAMA are ignored; a GIF's first frame lies on
// a canvas of the transparent colour, or of colour 0, that grows to hold it; an
// animated WebP's on black.
//
// Stricter than Pillow: damaged entropy-coded data, a bad PNG checksum, and a
// progressive JPEG or PNG without its end are errors.
//
// # What it refuses
//
// Every other format, by name; arithmetic, lossless, hierarchical and 12-bit
// JPEG; anything over the limits. It fetches nothing, writes nothing and knows
// nothing of HTTP: errors are *quality.Error of the image kinds,
// payload_too_large, deadline_exceeded and client_closed_request. It stands
// before the scoring use case, which sends the pixels to the encoder.
package imageprep
