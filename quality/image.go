package quality

import "fmt"

// ImageSize is the side of the square that every encoder here sees, in pixels.
const ImageSize = 224

// PixelsLen is the number of bytes in [Pixels].
const PixelsLen = ImageSize * ImageSize * 3

// Pixels is one preprocessed image: uint8 [224,224,3], row-major (HWC), RGB,
// not normalised. Its bytes are never modified after construction, so a value
// may be shared between goroutines.
type Pixels struct{ data []byte }

// NewPixels takes ownership of data, which must hold exactly [PixelsLen] bytes.
func NewPixels(data []byte) (Pixels, error) {
	if len(data) != PixelsLen {
		return Pixels{}, fmt.Errorf("pixels: %d bytes, want %d", len(data), PixelsLen)
	}
	return Pixels{data: data}, nil
}

// Bytes returns the pixels. The caller must not modify them.
func (p Pixels) Bytes() []byte { return p.data }

// PreprocessID names one exact way from image bytes to [Pixels]. Two ids that
// differ may give different pixels for the same file, so it is part of every
// image-embedding cache key.
type PreprocessID string

// At names the way from image bytes to the pixels of one view, where id is that
// of the view's recipe: the id itself for the square "224", and the id with
// "@SQUARE" for every other.
func (id PreprocessID) At(v View) PreprocessID {
	square := v.Square()
	if square == (View{}).Square() {
		return id
	}
	return id + "@" + PreprocessID(square)
}

// PreprocessMode is a choice between exactness and speed.
type PreprocessMode string

// The modes.
const (
	Exact PreprocessMode = "exact" // the pixels that training saw
	Fast  PreprocessMode = "fast"  // large JPEGs are shrunk while they are decoded
)

// Known reports whether m is one of the modes.
func (m PreprocessMode) Known() bool { return m == Exact || m == Fast }

// ImageInfo is what the header of an image file said.
type ImageInfo struct {
	Digest        Digest // SHA-256 of the file's bytes
	Format        string // "jpeg", "png", "webp" or "gif"
	Width, Height int    // pixels, before resizing
	FramesIgnored bool   // an animation, of which the first frame was used
	// OrientationIgnored: EXIF says that the picture is to be turned or mirrored,
	// and it was used as it is stored.
	OrientationIgnored bool
}

// Image is one view of a decoded image.
type Image struct {
	Info    ImageInfo
	Pixels  Pixels
	Decoder string // what decoded it: "go"
}
