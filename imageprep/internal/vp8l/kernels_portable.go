//go:build !amd64

package vp8l

func addGreen(row []uint32)                        { addGreenPortable(row) }
func addCross(row []uint32, factors uint32)        { addCrossPortable(row, factors) }
func toRGB(dst []byte, row []uint32)               { rgbPortable(dst, row) }
func predict(mode uint32, in, above, out []uint32) { predictPortable(mode, in, above, out) }
