package jpeg

// QuantTable is a table of quantisation steps.
type QuantTable = quantTable

// The kernels, as this processor runs them and as portable Go.
var (
	InverseDCT         = inverseDCT
	InverseDCTPortable = inverseDCTPortable
	Flat               = flat
	YCCChunks          = yccChunks
	YCCPortable        = yccPortable
	HChunks            = triangleHChunks
	FilterH            = filterH
	HVChunks           = triangleHVChunks
	FilterHV           = filterHV
)
