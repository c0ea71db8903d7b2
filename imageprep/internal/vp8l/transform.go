package vp8l

// Kinds of transforms, RFC 9649 section 4.
const (
	predictor = iota
	crossColour
	subtractGreen
	colourIndexing
)

// transform is one to undo. The pixels that it gives are width to a row.
type transform struct {
	kind  int
	bits  uint     // of the side of a tile, or of the indices that share a pixel
	width int      // of the rows that it gives
	data  []uint32 // of each tile, or the palette
}

// slack is how many pixels behind a row or a picture kernels may touch.
const slack = 16

const opaque = 0xff000000

// addPixels adds each channel for itself.
func addPixels(a, b uint32) uint32 {
	return (a&0xff00ff00+b&0xff00ff00)&0xff00ff00 | (a&0x00ff00ff+b&0x00ff00ff)&0x00ff00ff
}

// halve is the mean of each channel, rounded down.
func halve(a, b uint32) uint32 { return a&b + (a^b)>>1&0x7f7f7f7f }

// addGreenPortable undoes the subtraction of green.
func addGreenPortable(row []uint32) {
	for i, v := range row {
		green := v >> 8 & 0xff
		row[i] = v&0xff00ff00 | (v&0x00ff00ff+green*0x00010001)&0x00ff00ff
	}
}

// addCrossPortable undoes the prediction of red by green, and of blue by both,
// with the factors of one tile.
func addCrossPortable(row []uint32, factors uint32) {
	greenToRed, greenToBlue, redToBlue := int32(int8(factors)), int32(int8(factors>>8)), int32(int8(factors>>16))
	for i, v := range row {
		green := int32(int8(v >> 8))
		red := int32(v>>16) + greenToRed*green>>5
		blue := int32(v) + greenToBlue*green>>5 + redToBlue*int32(int8(red))>>5
		row[i] = v&0xff00ff00 | uint32(red)&0xff<<16 | uint32(blue)&0xff
	}
}

// predictPortable undoes a predictor over a run of pixels. in are differences;
// above is the row above from one pixel to the left of the run on, and out the
// row from the pixel before the run on.
func predictPortable(mode uint32, in, above, out []uint32) {
	left := out[0]
	out = out[1:][:len(in)]
	above = above[:len(in)+2]
	for i, v := range in {
		topLeft, top, topRight := above[i], above[i+1], above[i+2]
		var p uint32
		switch mode {
		case 1:
			p = left
		case 2:
			p = top
		case 3:
			p = topRight
		case 4:
			p = topLeft
		case 5:
			p = halve(halve(left, topRight), top)
		case 6:
			p = halve(left, topLeft)
		case 7:
			p = halve(left, top)
		case 8:
			p = halve(topLeft, top)
		case 9:
			p = halve(top, topRight)
		case 10:
			p = halve(halve(left, topLeft), halve(top, topRight))
		case 11:
			p = choose(left, top, topLeft)
		case 12:
			p = channels(left, top, topLeft, func(l, t, tl int32) int32 { return l + t - tl })
		case 13:
			p = channels(halve(left, top), 0, topLeft, func(a, _, tl int32) int32 { return a + (a-tl)/2 })
		default:
			p = opaque
		}
		left = addPixels(v, p)
		out[i] = left
	}
}

// choose is the neighbour that is nearer to left+top-topLeft, the top one where
// both are as near.
func choose(left, top, topLeft uint32) uint32 {
	if distance(top, topLeft) < distance(left, topLeft) {
		return left
	}
	return top
}

func distance(a, b uint32) (sum int32) {
	for s := 0; s < 32; s += 8 {
		d := int32(a>>s&0xff) - int32(b>>s&0xff)
		sum += max(d, -d)
	}
	return sum
}

// channels computes each channel by f, and clips it.
func channels(a, b, c uint32, f func(a, b, c int32) int32) (out uint32) {
	for s := 0; s < 32; s += 8 {
		v := f(int32(a>>s&0xff), int32(b>>s&0xff), int32(c>>s&0xff))
		out |= uint32(max(0, min(v, 255))) << s
	}
	return out
}

// rgbPortable takes the three colours of each pixel.
func rgbPortable(dst []byte, row []uint32) {
	for i, v := range row {
		o := dst[3*i : 3*i+3 : 3*i+3]
		o[0], o[1], o[2] = byte(v>>16), byte(v>>8), byte(v)
	}
}
