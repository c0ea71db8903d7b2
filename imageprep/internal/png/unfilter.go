package png

import "encoding/binary"

// unfilter undoes the filter of a row of samples; prev is the row above, all
// zeros for the first. bpp is the bytes of a pixel. It says false of a filter
// that does not exist.
func unfilter(filter byte, row, prev []byte, bpp int) bool {
	prev = prev[:len(row)]
	switch filter {
	case 0:
	case 1:
		for i := bpp; i < len(row); i++ {
			row[i] += row[i-bpp]
		}
	case 2:
		up(row, prev)
	case 3:
		for i := range min(bpp, len(row)) {
			row[i] += prev[i] / 2
		}
		for i := bpp; i < len(row); i++ {
			row[i] += byte((int(row[i-bpp]) + int(prev[i])) / 2)
		}
	case 4:
		paeth(row, prev, bpp)
	default:
		return false
	}
	return true
}

// up adds eight bytes at a time: the low seven bits of each, and then the
// highest without its carry.
func up(row, prev []byte) {
	const low = 0x7F7F7F7F7F7F7F7F
	i := 0
	for ; i+8 <= len(row); i += 8 {
		a, b := binary.LittleEndian.Uint64(row[i:]), binary.LittleEndian.Uint64(prev[i:])
		binary.LittleEndian.PutUint64(row[i:], (a&low+b&low)^((a^b)&^low))
	}
	for ; i < len(row); i++ {
		row[i] += prev[i]
	}
}

func paeth(row, prev []byte, bpp int) {
	switch done := paethPixels(row, prev, bpp); {
	case done > 0:
		paethFrom(row, prev, bpp, done)
	default:
		for i := range min(bpp, len(row)) {
			row[i] += prev[i] // the left ones are zero: up is nearest
		}
		paethFrom(row, prev, bpp, bpp)
	}
}

func paethFrom(row, prev []byte, bpp, from int) {
	for i := from; i < len(row); i++ {
		a, b, c := int(row[i-bpp]), int(prev[i]), int(prev[i-bpp])
		pa, pb := b-c, a-c
		pc := magnitude(pa + pb)
		pa, pb = magnitude(pa), magnitude(pb)
		switch {
		case pa <= pb && pa <= pc:
			row[i] += byte(a)
		case pb <= pc:
			row[i] += byte(b)
		default:
			row[i] += byte(c)
		}
	}
}

func magnitude(v int) int {
	s := v >> 63
	return (v ^ s) - s
}
