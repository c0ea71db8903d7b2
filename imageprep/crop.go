package imageprep

import "github.com/agiqa/agiqa/quality"

const (
	side     = quality.ImageSize
	rowBytes = 3 * side
)

// resized returns the size that torchvision's Resize(224) gives: the short
// side 224, the long side int(224 * long / short).
func resized(w, h int) (int64, int64) {
	if w <= h {
		return side, side * int64(h) / int64(w)
	}
	return side * int64(w) / int64(h), side
}

// cropOffset is where torchvision's CenterCrop(224) starts on a side of the
// given size: int(round((size - 224) / 2)), with Python's rounding of halves
// to even.
func cropOffset(size int64) int64 {
	d := size - side
	half := d / 2
	if d%2 == 1 && half%2 == 1 {
		half++
	}
	return half
}
