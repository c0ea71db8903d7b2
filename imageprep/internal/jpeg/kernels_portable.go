//go:build !amd64

package jpeg

func inverseDCT(block *[64]int16, q *quantTable, dst []byte, stride int) {
	inverseDCTPortable(block, q, dst, stride)
}

func inverseDCT4(block *[64]int16, q *quantTable, dst []byte, stride int) {
	inverseDCT4Portable(block, q, dst, stride)
}

func inverseDCT2(block *[64]int16, q *quantTable, dst []byte, stride int) {
	inverseDCT2Portable(block, q, dst, stride)
}

func yccChunks(_, _, _, _ []byte) int     { return 0 }
func triangleHChunks(_, _ []byte) int     { return 0 }
func triangleHVChunks(_, _, _ []byte) int { return 0 }
