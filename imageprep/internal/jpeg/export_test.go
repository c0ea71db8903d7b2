package jpeg

// QuantTable is a table of quantisation steps.
type QuantTable = quantTable

// Transforms are an inverse DCT as this processor runs it and in portable Go.
type Transforms struct {
	Kernel, Portable func(block *[64]int16, q *QuantTable, dst []byte, stride int)
}

// The kernels, as this processor runs them and as portable Go.
var (
	InverseDCTs = map[int]Transforms{
		8: {inverseDCT, inverseDCTPortable}, 4: {inverseDCT4, inverseDCT4Portable}, 2: {inverseDCT2, inverseDCT2Portable},
	}
	Flat        = flat
	YCCChunks   = yccChunks
	YCCPortable = yccPortable
	HChunks     = triangleHChunks
	FilterH     = filterH
	HVChunks    = triangleHVChunks
	FilterHV    = filterHV
)
