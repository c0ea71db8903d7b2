package encoder

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
)

// What graphs are written in; the same as the heads' (package checkpoint).
const (
	graphIR    = 8
	graphOpset = 17
)

// graph is an ONNX graph under construction. Nodes are named after their
// output, and outputs that nobody names are numbered.
type graph struct {
	nodes     []*onnxpb.Node
	constants []*onnxpb.Tensor
	known     map[string]bool // constants
	count     int
}

func newGraph() *graph { return &graph{known: map[string]bool{}} }

// op adds an operator with one output and returns the output's name.
func (g *graph) op(kind string, inputs []string, attributes ...*onnxpb.Attribute) string {
	g.count++
	return g.named(kind, "t"+strconv.Itoa(g.count), inputs, attributes...)
}

// named is op with a name for the output.
func (g *graph) named(kind, output string, inputs []string, attributes ...*onnxpb.Attribute) string {
	g.nodes = append(g.nodes, &onnxpb.Node{
		Name: output, OpType: kind, Input: inputs, Output: []string{output}, Attribute: attributes,
	})
	return output
}

// constant adds a constant, once, and returns its name.
func (g *graph) constant(name string, kind onnxpb.Tensor_DataType, raw []byte, dims ...int64) string {
	if !g.known[name] {
		g.known[name] = true
		g.constants = append(g.constants, &onnxpb.Tensor{Name: name, DataType: kind, RawData: raw, Dims: dims})
	}
	return name
}

func (g *graph) floats(name string, v []float32, dims ...int64) string {
	return g.constant(name, onnxpb.Tensor_FLOAT, safetensors.Tensor{Data: v}.Bytes(), dims...)
}

// integers is a list of whole numbers: a shape, axes, indices.
func (g *graph) integers(name string, v ...int64) string {
	raw := make([]byte, 0, 8*len(v))
	for _, n := range v {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(n))
	}
	return g.constant(name, onnxpb.Tensor_INT64, raw, int64(len(v)))
}

// reshape takes 0 for a dimension that stays and -1 for the one that follows.
func (g *graph) reshape(x string, dims ...int64) string {
	name := "shape"
	for _, d := range dims {
		name += "_" + strconv.FormatInt(d, 10)
	}
	return g.op("Reshape", []string{x, g.integers(name, dims...)})
}

func (g *graph) transpose(x string, order ...int64) string {
	return g.op("Transpose", []string{x}, &onnxpb.Attribute{Name: "perm", Type: onnxpb.Attribute_INTS, Ints: order})
}

// split returns the n parts of x along its first axis, without that axis.
func (g *graph) split(x string, n int) []string {
	g.count++
	name := "t" + strconv.Itoa(g.count)
	parts := make([]string, n)
	for i := range parts {
		parts[i] = fmt.Sprintf("%s_%d", name, i)
	}
	g.nodes = append(g.nodes, &onnxpb.Node{
		Name: name, OpType: "Split", Input: []string{x}, Output: parts, Attribute: []*onnxpb.Attribute{integer("axis", 0)},
	})
	flat := make([]string, n)
	for i := range flat {
		flat[i] = g.op("Squeeze", []string{parts[i], g.integers("first_axis", 0)})
	}
	return flat
}

// marshal returns the graph as an ONNX file.
func (g *graph) marshal(name string, input, output *onnxpb.ValueInfo) ([]byte, error) {
	file, err := proto.MarshalOptions{Deterministic: true}.Marshal(&onnxpb.Model{
		IrVersion:    graphIR,
		ProducerName: "agiqa",
		OpsetImport:  []*onnxpb.OperatorSet{{Version: graphOpset}},
		Graph: &onnxpb.Graph{
			Name: name, Node: g.nodes, Initializer: g.constants,
			Input: []*onnxpb.ValueInfo{input}, Output: []*onnxpb.ValueInfo{output},
		},
	})
	if err != nil {
		return nil, fmt.Errorf("graph %s: %w", name, err)
	}
	return file, nil
}

func integer(name string, v int64) *onnxpb.Attribute {
	return &onnxpb.Attribute{Name: name, Type: onnxpb.Attribute_INT, I: v}
}

func real(name string, v float32) *onnxpb.Attribute {
	return &onnxpb.Attribute{Name: name, Type: onnxpb.Attribute_FLOAT, F: v}
}

// batched is an input or output [N, dims...].
func batched(name string, kind onnxpb.Tensor_DataType, dims ...int64) *onnxpb.ValueInfo {
	batch := &onnxpb.Shape_Dimension{Value: &onnxpb.Shape_Dimension_DimParam{DimParam: "N"}}
	shape := &onnxpb.Shape{Dim: []*onnxpb.Shape_Dimension{batch}}
	for _, d := range dims {
		shape.Dim = append(shape.Dim, &onnxpb.Shape_Dimension{Value: &onnxpb.Shape_Dimension_DimValue{DimValue: d}})
	}
	return &onnxpb.ValueInfo{Name: name,
		Type: &onnxpb.Type{TensorType: &onnxpb.Type_TensorType{ElemType: kind, Shape: shape}}}
}
