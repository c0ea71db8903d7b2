//go:build amd64

package vp8l

import "golang.org/x/sys/cpu"

// chunk is how many pixels most kernels take at once.
const chunk = 8

func addGreen(row []uint32) {
	done := 0
	if n := len(row) / chunk; cpu.X86.HasAVX2 && n > 0 {
		addGreenAVX2(&row[0], n)
		done = n * chunk
	}
	addGreenPortable(row[done:])
}

func addCross(row []uint32, factors uint32) {
	done := 0
	if n := len(row) / chunk; cpu.X86.HasAVX2 && n > 0 {
		times8 := func(shift int) uint32 { return uint32(uint16(int16(int8(factors>>shift)) * 8)) }
		addCrossAVX2(&row[0], times8(0)<<16|times8(8), times8(16)<<16, n)
		done = n * chunk
	}
	addCrossPortable(row[done:], factors)
}

// toRGB leaves the last pixels to portable code, as the kernel writes beyond
// its own.
func toRGB(dst []byte, row []uint32) {
	done := 0
	if n := (len(row) - 2) / chunk; cpu.X86.HasAVX2 && n > 0 {
		_ = dst[3*chunk*n+3]
		toRGBAVX2(&dst[0], &row[0], n)
		done = n * chunk
	}
	rgbPortable(dst[3*done:], row[done:])
}

// predict undoes a predictor, as predictPortable does. Kernels read and write
// whole chunks, for which there are slack pixels behind each row.
func predict(mode uint32, in, above, out []uint32) {
	n := len(in)
	if !cpu.X86.HasAVX2 || n == 0 {
		predictPortable(mode, in, above, out)
		return
	}
	chunks := (n + chunk - 1) / chunk
	_, _, _ = in[:chunks*chunk], above[chunks*chunk+1], out[chunks*chunk]
	i, a, o := &in[0], &above[0], &out[0]
	switch mode {
	case 1:
		predict1AVX2(i, a, o, n)
	case 2:
		predict2AVX2(i, a, o, chunks)
	case 3:
		predict3AVX2(i, a, o, chunks)
	case 4:
		predict4AVX2(i, a, o, chunks)
	case 5:
		predict5AVX2(i, a, o, n)
	case 6:
		predict6AVX2(i, a, o, n)
	case 7:
		predict7AVX2(i, a, o, n)
	case 8:
		predict8AVX2(i, a, o, chunks)
	case 9:
		predict9AVX2(i, a, o, chunks)
	case 10:
		predict10AVX2(i, a, o, n)
	case 11:
		predict11AVX2(i, a, o, n)
	case 12:
		predict12AVX2(i, a, o, n)
	case 13:
		predict13AVX2(i, a, o, n)
	default:
		predict0AVX2(i, a, o, chunks)
	}
}
