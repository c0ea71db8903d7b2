package jpeg

import (
	"bytes"
	"fmt"
)

// segments walks the markers of a file.
type segments struct {
	data []byte
	at   int
}

// start steps over the start-of-image marker.
func (s *segments) start() error {
	if len(s.data) < 2 {
		return ErrTruncated
	}
	if s.data[0] != 0xFF || s.data[1] != markerSOI {
		return fmt.Errorf("%w: no start of image", ErrCorrupt)
	}
	s.at = 2
	return nil
}

// nextMarker skips to the next marker, over fill bytes and, as libjpeg does,
// over bytes that belong to nothing.
func (s *segments) nextMarker() (byte, bool) {
	for {
		i := bytes.IndexByte(s.data[s.at:], 0xFF)
		if i < 0 {
			s.at = len(s.data)
			return 0, false
		}
		s.at += i
		for s.at < len(s.data) && s.data[s.at] == 0xFF {
			s.at++
		}
		if s.at == len(s.data) {
			return 0, false
		}
		s.at++
		if m := s.data[s.at-1]; m != 0 {
			return m, true
		}
	}
}

// body returns the segment behind a marker and steps over it. The length of
// metadata may be too small to hold even itself: libjpeg, too, then goes on
// behind the length.
func (s *segments) body(marker byte) ([]byte, error) {
	if len(s.data)-s.at < 2 {
		return nil, ErrTruncated
	}
	n := int(s.data[s.at])<<8 | int(s.data[s.at+1])
	if metadata := marker >= markerAPP0 && marker <= markerAPPF || marker == markerCOM; metadata {
		n = max(n, 2)
	}
	if n < 2 {
		return nil, fmt.Errorf("%w: segment of length %d", ErrCorrupt, n)
	}
	if len(s.data)-s.at < n {
		return nil, ErrTruncated
	}
	b := s.data[s.at+2 : s.at+n]
	s.at += n
	return b, nil
}
