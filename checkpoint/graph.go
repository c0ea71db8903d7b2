package checkpoint

import (
	"encoding/binary"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// What the graph is written in: the newest that the onnxruntime 1.19 of
// tritonserver 24.10 knows is IR version 10 with opset 21, and nothing here
// needs more than this pair from 2022.
const (
	graphIR    = 8
	graphOpset = 17
)

// Tensors between the models, in the words of every configuration.
const (
	tensorImage      = "image_embedding"
	tensorTexts      = "text_embeddings"
	tensorPrompt     = "prompt_embedding" // of heads with Prompt alone
	tensorScore      = "score"
	tensorSimilarity = "category_similarity"
)

// headGraph writes the head as an ONNX model, in which only the batch N is
// open:
//
//	image_embedding [N,D], text_embeddings [N,6,D]
//	features = Concat(image_embedding, Reshape(text_embeddings, [-1,6D]))
//	score    = Gemm(Relu(Gemm(features, W0, B0)), W1, B1)       [N,1]
//	category_similarity = Reshape(MatMul(text_embeddings,
//	                      Reshape(image_embedding, [-1,D,1])), [-1,6])
//
// The cosine is a plain product because both sides are unit vectors. A head with
// Prompt has the input prompt_embedding [N,D] besides, and
//
//	features = Concat(image_embedding, Reshape(text_embeddings, [-1,6D]),
//	                  prompt_embedding, Mul(image_embedding, prompt_embedding))
func headGraph(h Head) ([]byte, error) {
	const c = quality.CategoryCount
	d := int64(h.Dim)
	input := []*onnxpb.ValueInfo{batched(tensorImage, d), batched(tensorTexts, c, d)}
	features := []*onnxpb.Node{with(node("Concat", "features", tensorImage, "text_row"), "axis", 1)}
	if h.Prompt {
		input = append(input, batched(tensorPrompt, d))
		features = []*onnxpb.Node{
			node("Mul", "image_prompt", tensorImage, tensorPrompt),
			with(node("Concat", "features", tensorImage, "text_row", tensorPrompt, "image_prompt"), "axis", 1),
		}
	}
	graph := &onnxpb.Graph{
		Name: "prompt_head",
		Node: slices.Concat([]*onnxpb.Node{
			node("Reshape", "text_row", tensorTexts, "text_row_shape"),
		}, features, []*onnxpb.Node{
			with(node("Gemm", "hidden", "features", tensorW0, tensorB0), "transB", 1),
			node("Relu", "active", "hidden"),
			with(node("Gemm", tensorScore, "active", tensorW1, tensorB1), "transB", 1),
			node("Reshape", "image_column", tensorImage, "image_column_shape"),
			node("MatMul", "similarity_column", tensorTexts, "image_column"),
			node("Reshape", tensorSimilarity, "similarity_column", "similarity_shape"),
		}),
		Initializer: []*onnxpb.Tensor{
			floats(tensorW0, h.W0, int64(h.Hidden), int64(h.parts())*d),
			floats(tensorB0, h.B0, int64(h.Hidden)),
			floats(tensorW1, h.W1, 1, int64(h.Hidden)),
			floats(tensorB1, h.B1, 1),
			shape("text_row_shape", -1, c*d),
			shape("image_column_shape", -1, d, 1),
			shape("similarity_shape", -1, c),
		},
		Input:  input,
		Output: []*onnxpb.ValueInfo{batched(tensorScore, 1), batched(tensorSimilarity, c)},
	}
	return marshalGraph(graph)
}

func marshalGraph(graph *onnxpb.Graph) ([]byte, error) {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(&onnxpb.Model{
		IrVersion:    graphIR,
		ProducerName: "agiqa",
		OpsetImport:  []*onnxpb.OperatorSet{{Version: graphOpset}},
		Graph:        graph,
	})
	if err != nil {
		return nil, fmt.Errorf("graph %s: %w", graph.Name, err)
	}
	return b, nil
}

// node is an operator with one output, whose name it takes for its own.
func node(op, output string, inputs ...string) *onnxpb.Node {
	return &onnxpb.Node{Name: output, OpType: op, Input: inputs, Output: []string{output}}
}

// with gives a node a whole-number attribute.
func with(n *onnxpb.Node, name string, value int64) *onnxpb.Node {
	n.Attribute = append(n.Attribute, &onnxpb.Attribute{Name: name, Type: onnxpb.Attribute_INT, I: value})
	return n
}

// floats is a constant of numbers.
func floats(name string, data []float32, dims ...int64) *onnxpb.Tensor {
	return &onnxpb.Tensor{
		Name: name, Dims: dims, DataType: onnxpb.Tensor_FLOAT,
		RawData: safetensors.Tensor{Data: data}.Bytes(),
	}
}

// shape is a constant that Reshape takes; -1 stands for the batch.
func shape(name string, dims ...int64) *onnxpb.Tensor {
	raw := make([]byte, 0, 8*len(dims))
	for _, d := range dims {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(d))
	}
	return &onnxpb.Tensor{Name: name, Dims: []int64{int64(len(dims))}, DataType: onnxpb.Tensor_INT64, RawData: raw}
}

// batched is an input or output of float32 [N, dims...].
func batched(name string, dims ...int64) *onnxpb.ValueInfo {
	batch := &onnxpb.Shape_Dimension{Value: &onnxpb.Shape_Dimension_DimParam{DimParam: "N"}}
	s := &onnxpb.Shape{Dim: []*onnxpb.Shape_Dimension{batch}}
	for _, d := range dims {
		s.Dim = append(s.Dim, &onnxpb.Shape_Dimension{Value: &onnxpb.Shape_Dimension_DimValue{DimValue: d}})
	}
	return &onnxpb.ValueInfo{Name: name, Type: &onnxpb.Type{
		TensorType: &onnxpb.Type_TensorType{ElemType: onnxpb.Tensor_FLOAT, Shape: s},
	}}
}
