package tritontest

import (
	"encoding/binary"
	"math"

	pb "github.com/agiqa/agiqa/tritonclient/inferencepb"
)

// A Lie is one way in which a reply can be wrong. Each must become a
// model_bad_output, never a score.
type Lie struct {
	Name string
	Tell func(*pb.ModelInferResponse)
	// Embedding says that only an embedding can tell: other tensors may hold
	// such numbers.
	Embedding bool
}

// Lies returns every way in which replies of a broken model were imagined to
// be wrong. They concern the first output.
func Lies() []Lie {
	return []Lie{
		{Name: "wrong shape", Tell: func(r *pb.ModelInferResponse) { r.Outputs[0].Shape = []int64{1, 1, 1} }},
		{Name: "one row too many", Tell: func(r *pb.ModelInferResponse) { r.Outputs[0].Shape[0]++ }},
		{Name: "negative shape", Tell: func(r *pb.ModelInferResponse) { r.Outputs[0].Shape[0] = -1 }},
		{Name: "shape that overflows", Tell: func(r *pb.ModelInferResponse) {
			r.Outputs[0].Shape = []int64{math.MaxInt64, math.MaxInt64}
		}},
		{Name: "no shape", Tell: func(r *pb.ModelInferResponse) { r.Outputs[0].Shape = nil }},
		{Name: "wrong data type", Tell: func(r *pb.ModelInferResponse) { r.Outputs[0].Datatype = "FP16" }},
		{Name: "no bytes", Tell: func(r *pb.ModelInferResponse) { r.RawOutputContents[0] = nil }},
		{Name: "one byte short", Tell: func(r *pb.ModelInferResponse) {
			raw := r.RawOutputContents[0]
			r.RawOutputContents[0] = raw[:len(raw)-1]
		}},
		{Name: "one number too many", Tell: func(r *pb.ModelInferResponse) {
			r.RawOutputContents[0] = append(r.RawOutputContents[0], 0, 0, 0, 0)
		}},
		{Name: "no raw contents", Tell: func(r *pb.ModelInferResponse) { r.RawOutputContents = nil }},
		{Name: "raw contents of one tensor too many", Tell: func(r *pb.ModelInferResponse) {
			r.RawOutputContents = append(r.RawOutputContents, nil)
		}},
		{Name: "typed contents beside raw", Tell: func(r *pb.ModelInferResponse) {
			r.Outputs[0].Contents = &pb.InferTensorContents{Fp32Contents: []float32{1}}
		}},
		{Name: "not a number", Tell: func(r *pb.ModelInferResponse) { poke(r, math.NaN()) }},
		{Name: "infinite", Tell: func(r *pb.ModelInferResponse) { poke(r, math.Inf(1)) }},
		{Name: "minus infinite", Tell: func(r *pb.ModelInferResponse) { poke(r, math.Inf(-1)) }},
		{Name: "no output", Tell: func(r *pb.ModelInferResponse) { r.Outputs, r.RawOutputContents = nil, nil }},
		{Name: "an output too many", Tell: func(r *pb.ModelInferResponse) {
			r.Outputs = append(r.Outputs, &pb.ModelInferResponse_InferOutputTensor{
				Name: "extra", Datatype: "FP32", Shape: []int64{1},
			})
			r.RawOutputContents = append(r.RawOutputContents, make([]byte, 4))
		}},
		{Name: "output of another name", Tell: func(r *pb.ModelInferResponse) { r.Outputs[0].Name = "other" }},
		{Name: "another model", Tell: func(r *pb.ModelInferResponse) { r.ModelName = "other" }},
		{Name: "norm 0", Embedding: true, Tell: func(r *pb.ModelInferResponse) { clear(r.RawOutputContents[0]) }},
		{Name: "norm 2", Embedding: true, Tell: func(r *pb.ModelInferResponse) {
			values := float32s(r.RawOutputContents[0])
			for i := range values {
				values[i] *= 2
			}
			r.RawOutputContents[0] = rawFloats(values)
		}},
	}
}

// poke overwrites the last number of the first output.
func poke(r *pb.ModelInferResponse, v float64) {
	raw := r.RawOutputContents[0]
	binary.LittleEndian.PutUint32(raw[len(raw)-4:], math.Float32bits(float32(v)))
}
