package checkpoint_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
)

// dynamic stands in a shape for a dimension that the file leaves open.
const dynamic int64 = -1

// signature is what a graph takes and gives, and what a runtime must know to
// read it.
type signature struct {
	IRVersion int64
	Opset     int64 // of ONNX's own operators
	Inputs    []graphValue
	Outputs   []graphValue
}

// graphValue is one input or output of a graph.
type graphValue struct {
	Name  string
	Type  onnxpb.Tensor_DataType
	Shape []int64 // [dynamic] where the file gives a name or nothing
}

// readSignature reads the signature of an ONNX model file. Initializers that
// are also listed as inputs, as files before IR version 4 do, are left out.
func readSignature(b []byte) (signature, error) {
	var m onnxpb.Model
	if err := proto.Unmarshal(b, &m); err != nil {
		return signature{}, fmt.Errorf("onnx: %w", err)
	}
	g := m.GetGraph()
	if g == nil {
		return signature{}, errors.New("onnx: the file holds no graph")
	}
	s := signature{IRVersion: m.GetIrVersion()}
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
			s.Inputs = append(s.Inputs, valueOf(v))
		}
	}
	for _, v := range g.GetOutput() {
		s.Outputs = append(s.Outputs, valueOf(v))
	}
	return s, nil
}

func valueOf(v *onnxpb.ValueInfo) graphValue {
	t := v.GetType().GetTensorType()
	out := graphValue{Name: v.GetName(), Type: t.GetElemType()}
	for _, d := range t.GetShape().GetDim() {
		n := dynamic
		if fixed, ok := d.GetValue().(*onnxpb.Shape_Dimension_DimValue); ok {
			n = fixed.DimValue
		}
		out.Shape = append(out.Shape, n)
	}
	return out
}

// message joins fields into one message; each is a number and a payload.
func message(fields ...[]byte) []byte {
	var b []byte
	for _, f := range fields {
		b = append(b, f...)
	}
	return b
}

func bytesField(number protowire.Number, b []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(nil, number, protowire.BytesType), b)
}

func intField(number protowire.Number, n uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(nil, number, protowire.VarintType), n)
}

// TestReadSignature reads a file put together from the field numbers of the
// public definition, not by the generated code. It has what ours leaves out,
// too: a doc string, a symbolic dimension, a dimension without anything, and
// an initializer that is listed among the inputs.
func TestReadSignature(t *testing.T) {
	fixed := func(n uint64) []byte { return bytesField(1, intField(1, n)) }
	symbolic := bytesField(1, bytesField(2, []byte("N")))
	empty := bytesField(1, nil)
	value := func(name string, kind uint64, dims ...[]byte) []byte {
		tensor := message(intField(1, kind), bytesField(2, message(dims...)))
		return message(bytesField(1, []byte(name)), bytesField(2, bytesField(1, tensor)), bytesField(3, []byte("doc")))
	}
	graph := message(
		bytesField(2, []byte("g")),
		bytesField(5, message(intField(1, 2), intField(2, 1), bytesField(8, []byte("weight")),
			bytesField(9, make([]byte, 8)))),
		bytesField(10, []byte("doc")),
		bytesField(11, value("pixels", 2, symbolic, fixed(224), empty)),
		bytesField(11, value("weight", 1, fixed(2))),
		bytesField(12, value("out", 10, symbolic, fixed(512))),
	)
	file := message(
		intField(1, 8), bytesField(2, []byte("someone")),
		bytesField(8, message(bytesField(1, []byte("ai.onnx.ml")), intField(2, 3))),
		bytesField(8, intField(2, 17)),
		bytesField(7, graph),
	)
	got, err := readSignature(file)
	if err != nil {
		t.Fatal(err)
	}
	want := signature{
		IRVersion: 8, Opset: 17,
		Inputs:  []graphValue{{Name: "pixels", Type: onnxpb.Tensor_UINT8, Shape: []int64{dynamic, 224, dynamic}}},
		Outputs: []graphValue{{Name: "out", Type: onnxpb.Tensor_FLOAT16, Shape: []int64{dynamic, 512}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}
