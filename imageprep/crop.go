package imageprep

import "github.com/agiqa/agiqa/quality"

const (
	side     = quality.ImageSize
	rowBytes = 3 * side
)

// resized returns the size that torchvision's Resize gives: the short side is
// short, the long side int(short * long / the picture's short side).
func resized(w, h int, short int64) (int64, int64) {
	if w <= h {
		return short, short * int64(h) / int64(w)
	}
	return short * int64(w) / int64(h), short
}

// cropOffset is where torchvision's CenterCrop to size starts on a side of the
// given length: int(round((length - size) / 2)), with Python's rounding of
// halves to even.
func cropOffset(length, size int64) int64 {
	d := length - size
	half := d / 2
	if d%2 == 1 && half%2 == 1 {
		half++
	}
	return half
}

// place is where a view lies in its picture.
type place struct {
	width, height int64 // of the picture after the resize
	left, top     int64 // of the view there
}

func placeOf(w, h int, v quality.View) place {
	size := int64(v.Size())
	p := place{}
	p.width, p.height = resized(w, h, size)
	row, column := v.Cell()
	p.left = cropOffset(p.width, size) + int64(column)*side
	p.top = cropOffset(p.height, size) + int64(row)*side
	return p
}

// BoxOf returns the pixels of a picture of width x height that a view covers:
// the view's square, scaled back and rounded outwards. The resize's filter
// reaches a little beyond it.
func BoxOf(width, height int, v quality.View) quality.Box {
	p := placeOf(width, height, v)
	x0, x1 := covered(p.left, int64(width), p.width)
	y0, y1 := covered(p.top, int64(height), p.height)
	return quality.Box{X: x0, Y: y0, Width: x1 - x0, Height: y1 - y0}
}

// covered scales the positions [first, first+side) of an axis of out positions
// back to one of in.
func covered(first, in, out int64) (from, to int) {
	return int(first * in / out), int(((first+side)*in + out - 1) / out)
}
