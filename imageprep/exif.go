package imageprep

import (
	"bytes"
	"encoding/binary"
)

// exifTurns reports whether EXIF metadata says that a picture is to be turned
// or mirrored before it is shown: an orientation of 2 to 8 in its first
// directory. The metadata begins with a TIFF header; anything that isn't sound
// turns nothing.
func exifTurns(exif []byte) bool {
	const orientation, short = 0x0112, 3
	exif = bytes.TrimPrefix(exif, exifMagic)
	if len(exif) < 8 {
		return false
	}
	var order binary.ByteOrder = binary.BigEndian
	switch string(exif[:4]) {
	case "II*\x00":
		order = binary.LittleEndian
	case "MM\x00*":
	default:
		return false
	}
	at := int64(order.Uint32(exif[4:]))
	if at+2 > int64(len(exif)) {
		return false
	}
	entries := exif[at+2:]
	for range order.Uint16(exif[at:]) {
		if len(entries) < 12 {
			return false
		}
		if order.Uint16(entries) == orientation {
			v := order.Uint16(entries[8:])
			return order.Uint16(entries[2:]) == short && v >= 2 && v <= 8
		}
		entries = entries[12:]
	}
	return false
}

// exifMagic stands before the TIFF header in a JPEG's segment, and in some
// WebP.
var exifMagic = []byte("Exif\x00\x00")
