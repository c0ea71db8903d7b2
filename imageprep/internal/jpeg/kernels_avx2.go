//go:build amd64

package jpeg

import "golang.org/x/sys/cpu"

// chunk is how many samples the kernels take at once.
const chunk = 16

func inverseDCT(block *[64]int16, q *quantTable, dst []byte, stride int) {
	if !cpu.X86.HasAVX2 {
		inverseDCTPortable(block, q, dst, stride)
		return
	}
	_ = dst[7*stride+7]
	inverseDCTAVX2(&block[0], &q[0], &dst[0], stride)
}

func inverseDCT4(block *[64]int16, q *quantTable, dst []byte, stride int) {
	if !cpu.X86.HasAVX2 {
		inverseDCT4Portable(block, q, dst, stride)
		return
	}
	_ = dst[3*stride+3]
	inverseDCT4AVX2(&block[0], &q[0], &dst[0], stride)
}

func inverseDCT2(block *[64]int16, q *quantTable, dst []byte, stride int) {
	if !cpu.X86.HasAVX2 {
		inverseDCT2Portable(block, q, dst, stride)
		return
	}
	_ = dst[stride+1]
	inverseDCT2AVX2(&block[0], &q[0], &dst[0], stride)
}

// chunks is how many whole chunks n samples hold.
func chunks(n int) int {
	if !cpu.X86.HasAVX2 {
		return 0
	}
	return max(0, n/chunk)
}

// yccChunks converts as many pixels as it can and returns their number.
func yccChunks(dst, y, cb, cr []byte) int {
	n := chunks(len(y))
	if n > 0 {
		_, _, _ = dst[3*chunk*n-1], cb[chunk*n-1], cr[chunk*n-1]
		yccToRGBAVX2(&dst[0], &y[0], &cb[0], &cr[0], n)
	}
	return n * chunk
}

// triangleHChunks filters as many samples between the ends as it can, from
// sample 1 on, and returns their number.
func triangleHChunks(in, out []byte) int {
	n := chunks(len(in) - 2)
	if n > 0 {
		_ = out[1+2*chunk*n]
		triangleHAVX2(&in[0], &out[0], n)
	}
	return n * chunk
}

// triangleHVChunks is triangleHChunks for two rows.
func triangleHVChunks(near, far, out []byte) int {
	n := chunks(len(near) - 2)
	if n > 0 {
		_, _ = far[chunk*n+1], out[1+2*chunk*n]
		triangleHVAVX2(&near[0], &far[0], &out[0], n)
	}
	return n * chunk
}
