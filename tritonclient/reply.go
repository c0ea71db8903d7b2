package tritonclient

import (
	"encoding/binary"
	"math"
	"slices"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// readReply checks a reply against what was asked and returns the tensors in
// the order of want. Whatever does not fit is a model_bad_output that names
// model, tensor, got and want.
func readReply(resp *pb.ModelInferResponse, model string, want []output) ([][]float32, error) {
	if resp.GetModelName() != model {
		return nil, badOutput(model, "the reply is model %.64q's", resp.GetModelName())
	}
	if got := len(resp.GetOutputs()); got != len(want) {
		return nil, badOutput(model, "%d output tensors, want %d", got, len(want))
	}
	if got := len(resp.GetRawOutputContents()); got != len(want) {
		return nil, badOutput(model, "raw contents of %d output tensors, want %d", got, len(want))
	}
	tensors := make([][]float32, len(want))
	for i, w := range want {
		at := slices.IndexFunc(resp.Outputs, func(t *pb.ModelInferResponse_InferOutputTensor) bool {
			return t.GetName() == w.name
		})
		if at < 0 {
			return nil, badOutput(model, "no output %s", w.name)
		}
		values, err := readTensor(model, resp.Outputs[at], resp.RawOutputContents[at], w)
		if err != nil {
			return nil, err
		}
		tensors[i] = values
	}
	return tensors, nil
}

// readTensor checks one output and reads its numbers.
func readTensor(
	model string, got *pb.ModelInferResponse_InferOutputTensor, raw []byte, want output,
) ([]float32, error) {
	n := elements(want.shape)
	switch {
	case got.GetDatatype() != typeFP32:
		return nil, badOutput(model, "output %s has data type %.16q, want %s", want.name, got.GetDatatype(), typeFP32)
	case !slices.Equal(got.GetShape(), want.shape):
		return nil, badOutput(model, "output %s has shape %s, want %v", want.name, shapeText(got.GetShape()), want.shape)
	case got.GetContents() != nil:
		return nil, badOutput(model, "output %s has typed contents, want raw", want.name)
	case len(raw) != 4*n:
		return nil, badOutput(model, "output %s has %d bytes, want %d", want.name, len(raw), 4*n)
	}
	values := make([]float32, n)
	for i := range values {
		v := math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		if f := float64(v); !want.loose && (math.IsNaN(f) || math.IsInf(f, 0)) {
			return nil, badOutput(model, "output %s[%d] is %v", want.name, i, v)
		}
		values[i] = v
	}
	return values, nil
}
