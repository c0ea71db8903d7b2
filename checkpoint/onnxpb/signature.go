package onnxpb

import (
	"errors"
	"fmt"

	"google.golang.org/protobuf/proto"
)

// Dynamic stands in a shape for a dimension that the file leaves open.
const Dynamic int64 = -1

// Signature is what a graph takes and gives, and what a runtime must know to
// read it.
type Signature struct {
	IRVersion int64
	Opset     int64 // of ONNX's own operators
	Inputs    []Value
	Outputs   []Value
}

// Value is one input or output of a graph.
type Value struct {
	Name  string
	Type  Tensor_DataType
	Shape []int64 // [Dynamic] where the file gives a name or nothing
}

// ReadSignature reads the signature of an ONNX model file. Initializers that
// are also listed as inputs, as files before IR version 4 do, are left out.
func ReadSignature(b []byte) (Signature, error) {
	var m Model
	if err := proto.Unmarshal(b, &m); err != nil {
		return Signature{}, fmt.Errorf("onnx: %w", err)
	}
	g := m.GetGraph()
	if g == nil {
		return Signature{}, errors.New("onnx: the file holds no graph")
	}
	s := Signature{IRVersion: m.GetIrVersion()}
	for _, o := range m.GetOpsetImport() {
		if o.GetDomain() == "" {
			s.Opset = o.GetVersion()
		}
	}
	constant := make(map[string]bool, len(g.GetInitializer()))
	for _, t := range g.GetInitializer() {
		constant[t.GetName()] = true
	}
	for _, v := range g.GetInput() {
		if !constant[v.GetName()] {
			s.Inputs = append(s.Inputs, value(v))
		}
	}
	for _, v := range g.GetOutput() {
		s.Outputs = append(s.Outputs, value(v))
	}
	return s, nil
}

func value(v *ValueInfo) Value {
	t := v.GetType().GetTensorType()
	out := Value{Name: v.GetName(), Type: t.GetElemType()}
	for _, d := range t.GetShape().GetDim() {
		n := Dynamic
		if fixed, ok := d.GetValue().(*Shape_Dimension_DimValue); ok {
			n = fixed.DimValue
		}
		out.Shape = append(out.Shape, n)
	}
	return out
}
