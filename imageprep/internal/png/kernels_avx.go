//go:build amd64

package png

import "golang.org/x/sys/cpu"

// paethPixels undoes the filter at the beginning of a row and returns the
// number of bytes done.
func paethPixels(row, prev []byte, bpp int) int {
	const reads = 8 // bytes at each pixel
	if len(row) < reads || bpp < 3 || !cpu.X86.HasAVX2 {
		return 0
	}
	n := (len(row)-reads)/bpp + 1
	_ = prev[len(row)-1]
	if bpp == 3 {
		paeth3AVX(&row[0], &prev[0], n)
	} else {
		paeth4AVX(&row[0], &prev[0], n)
	}
	return n * bpp
}
