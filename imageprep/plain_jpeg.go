package imageprep

import (
	"bytes"
	"encoding/binary"
)

// plainJPEG reports whether libjpeg, told to stop at warnings, accepts of data
// only what the Go decoder accepts too, and makes the same of it. Left out are
// files that lack something without libjpeg minding: sequential ones whose
// components come in several scans, and progressive ones that never send every
// bit (libjpeg smooths those). data has passed Sniff.
func plainJPEG(data []byte) bool {
	var s jpegScript
	for at := 2; ; {
		i := bytes.IndexByte(data[at:], 0xff)
		if i < 0 || at+i+4 > len(data) {
			return s.complete()
		}
		at += i + 1
		marker := data[at]
		switch {
		case marker == 0xff, marker == 0, marker == 1, marker >= 0xd0 && marker <= 0xd8: // fill, stuffing, no segment
			if marker != 0xff {
				at++
			}
			continue
		case marker == 0xd9:
			return s.complete()
		}
		at++
		n := int(binary.BigEndian.Uint16(data[at:]))
		if n < 2 || at+n > len(data) {
			return false
		}
		body := data[at+2 : at+n]
		at += n
		switch {
		case marker >= 0xc0 && marker <= 0xc2:
			if !s.frame(body, marker == 0xc2) {
				return false
			}
		case marker == 0xda:
			if !s.scan(body) {
				return false
			}
			if !s.progressive {
				return true
			}
		}
	}
}

// jpegScript follows the scans of a file: missing holds, for each component
// and coefficient, how many of its low bits were not sent yet.
type jpegScript struct {
	ids         []byte
	progressive bool
	missing     [][64]int8
}

const neverSent = 127

func (s *jpegScript) frame(body []byte, progressive bool) bool {
	if s.ids != nil || len(body) < 6 || len(body) < 6+3*int(body[5]) || body[5] == 0 {
		return false
	}
	s.progressive = progressive
	for i := range int(body[5]) {
		s.ids = append(s.ids, body[6+3*i])
		var m [64]int8
		for k := range m {
			m[k] = neverSent
		}
		s.missing = append(s.missing, m)
	}
	return true
}

// scan notes a start-of-scan header. It refuses what is out of order.
func (s *jpegScript) scan(body []byte) bool {
	if len(body) < 1 || len(body) != 4+2*int(body[0]) {
		return false
	}
	n := int(body[0])
	if !s.progressive {
		return n == len(s.ids)
	}
	first, last, high, low := int(body[1+2*n]), int(body[2+2*n]), int8(body[3+2*n]>>4), int8(body[3+2*n]&15)
	if first > last || last > 63 {
		return false
	}
	for i := range n {
		c := bytes.IndexByte(s.ids, body[1+2*i])
		if c < 0 {
			return false
		}
		for k := first; k <= last; k++ {
			if m := s.missing[c][k]; high == 0 && m != neverSent || high != 0 && m != high {
				return false
			}
			s.missing[c][k] = low
		}
	}
	return true
}

// complete reports whether every bit was sent.
func (s *jpegScript) complete() bool {
	for _, m := range s.missing {
		if m != [64]int8{} {
			return false
		}
	}
	return s.progressive
}
