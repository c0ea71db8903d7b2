package jpeg

import (
	"bytes"
	"fmt"
)

// Info is what the markers of a file say.
type Info struct {
	Width, Height int
	Bits          int // a sample
	Components    int
	Process       byte   // the start-of-frame marker: 0xC0, 0xC1 and 0xC2 can be decoded
	Scans         int    // start-of-scan markers before the end of the image
	Exif          []byte // of the first such segment, its name included; nil: there is none
	PlaneBytes    int64  // memory that Decode allocates for data, samples and coefficients; 0 for what it refuses
}

// Inspect walks the markers without decoding or allocating anything that
// grows with the file. It finds the same frame that [Decode] does. Errors are
// ErrTruncated when the file ends before its first scan and ErrCorrupt.
func Inspect(data []byte) (Info, error) {
	s := segments{data: data}
	if err := s.start(); err != nil {
		return Info{}, err
	}
	var info Info
	for {
		marker, ok := s.nextMarker()
		switch {
		case (!ok || marker == markerEOI) && info.Scans > 0:
			return info, nil
		case !ok:
			return info, ErrTruncated
		case marker == markerEOI:
			return info, fmt.Errorf("%w: no image data", ErrCorrupt)
		case marker >= markerRST0 && marker <= markerSOI, marker == markerTEM:
			continue
		}
		body, err := s.body(marker)
		if err != nil {
			if info.Scans > 0 { // the decoder says what it makes of the rest
				return info, nil
			}
			return info, err
		}
		switch {
		case marker == markerSOS && info.Process == 0:
			return info, fmt.Errorf("%w: scan before its frame", ErrCorrupt)
		case marker == markerSOS:
			info.Scans++
		case marker == markerAPP0+1 && info.Exif == nil && bytes.HasPrefix(body, []byte("Exif\x00\x00")):
			info.Exif = body
		case isFrame(marker) && info.Process == 0:
			if err := info.frame(body, marker, len(data)); err != nil {
				return info, err
			}
		}
	}
}

// isFrame reports whether marker starts a frame of any coding process.
func isFrame(marker byte) bool {
	return marker >= markerSOF0 && marker <= 0xCF && marker != markerDHT && marker != 0xC8 && marker != 0xCC
}

// frame reads the frame of a file of size bytes.
func (info *Info) frame(body []byte, marker byte, size int) error {
	f, err := parseFrame(body)
	if err != nil {
		return err
	}
	info.Process, info.Width, info.Height = marker, f.width, f.height
	info.Bits, info.Components = f.precision, len(f.comps)
	if marker > markerSOF2 || f.width == 0 || f.height == 0 || f.layOut(1) != nil {
		return nil
	}
	info.PlaneBytes = int64(size) // the entropy-coded data without its stuffing
	for _, c := range f.comps {
		info.PlaneBytes += int64(c.samples())
		if marker == markerSOF2 {
			info.PlaneBytes += 2*64*int64(c.blocks()) + 8*int64(c.blocks())
		}
	}
	return nil
}
