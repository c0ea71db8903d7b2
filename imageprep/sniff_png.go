package imageprep

import "encoding/binary"

// pngLayout is the part of a PNG's structure that its decoder asks for.
type pngLayout struct {
	complete bool // the IEND chunk was seen
}

// PNG colour types.
const (
	pngGray      = 0
	pngRGB       = 2
	pngPalette   = 3
	pngGrayAlpha = 4
	pngRGBA      = 6
)

func sniffPNG(data []byte) (Header, error) {
	const ihdrLen = 13
	body := data[len(pngMagic):]
	if len(body) < 8+ihdrLen {
		return Header{}, truncated(PNG)
	}
	if binary.BigEndian.Uint32(body) != ihdrLen || string(body[4:8]) != "IHDR" {
		return Header{}, corrupt(PNG)
	}
	ihdr := body[8 : 8+ihdrLen]
	w, ht := binary.BigEndian.Uint32(ihdr), binary.BigEndian.Uint32(ihdr[4:])
	channels := pngChannels(ihdr[9])
	if w > 1<<31-1 || ht > 1<<31-1 || channels == 0 || !pngDepth(ihdr[8], ihdr[9]) || ihdr[12] > 1 {
		return Header{}, corrupt(PNG)
	}
	chunks := walkPNG(body)
	h := Header{
		Format: PNG, Width: int(w), Height: int(ht), Frames: chunks.frames, Scans: 1,
		Bits: int(ihdr[8]), Channels: channels, Progressive: ihdr[12] == 1,
		Turned: exifTurns(chunks.exif), layout: pngLayout{complete: chunks.complete},
	}
	h.planes = h.Pixels() * pngPixelBytes(ihdr[9], ihdr[8], chunks.transparent)
	if h.Progressive {
		h.planes *= 2
	}
	return h, nil
}

func pngChannels(colourType byte) int {
	switch colourType {
	case pngGray, pngPalette:
		return 1
	case pngGrayAlpha:
		return 2
	case pngRGB:
		return 3
	case pngRGBA:
		return 4
	}
	return 0
}

// pngDepth reports whether samples of a colour type may have so many bits.
func pngDepth(bits, colourType byte) bool {
	switch bits {
	case 1, 2, 4:
		return colourType == pngGray || colourType == pngPalette
	case 8:
		return true
	case 16:
		return colourType != pngPalette
	}
	return false
}

// pngPixelBytes is what image/png allocates for a pixel. (2^31-1)^2 pixels
// times 16 would overflow: the pixel limit is checked first, and Header.planes
// means nothing for images far over it.
func pngPixelBytes(colourType, depth byte, transparent bool) int64 {
	switch {
	case colourType == pngPalette:
		return 1
	case depth == 16 && (colourType != pngGray || transparent):
		return 8
	case depth == 16:
		return 2
	case colourType == pngGray && !transparent:
		return 1
	}
	return 4
}

type pngChunks struct {
	frames      int
	transparent bool
	complete    bool
	exif        []byte
}

// walkPNG steps from chunk to chunk by their lengths.
func walkPNG(body []byte) pngChunks {
	c := pngChunks{frames: 1}
	animated, control, data := 0, false, false
	for len(body) >= 12 && !c.complete {
		n, kind := int64(binary.BigEndian.Uint32(body)), string(body[4:8])
		if n > int64(len(body))-12 {
			break
		}
		switch kind {
		case "acTL":
			if n >= 4 && !data {
				animated = int(binary.BigEndian.Uint32(body[8:]))
			}
		case "fcTL":
			control = control || !data
		case "eXIf":
			c.exif = body[8 : 8+n]
		case "tRNS":
			c.transparent = true
		case "IDAT":
			data = true
		case "IEND":
			c.complete = true
		}
		body = body[12+n:]
	}
	if animated > 0 {
		c.frames = animated
		if !control { // the image that is decoded is no frame of the animation
			c.frames++
		}
	}
	return c
}
