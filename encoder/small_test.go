package encoder_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/encoder"
)

// The shape of a tower that is small enough for a table of tests.
var smallShape = encoder.Vision{Width: 4, Layers: 2, Heads: 2, Patch: 112, Resolution: 224}

const smallDim = 3

// published is an ONNX file like the one that the default encoder's weights
// come in: constants under the names of their layers, and MatMuls whose int8
// weights have numbers for names.
type published struct {
	*onnxpb.Graph
	r *rand.Rand
}

func newPublished() *published {
	s := smallShape
	p := &published{Graph: &onnxpb.Graph{Name: "main_graph"}, r: rand.New(rand.NewPCG(1, 2))}
	width, patch, side := int64(s.Width), int64(s.Patch), int64(s.Resolution/s.Patch)
	p.floats("vision_model.embeddings.class_embedding", width)
	p.floats("vision_model.embeddings.patch_embedding.weight", width, 3, patch, patch)
	p.floats("vision_model.embeddings.position_embedding.weight", side*side+1, width)
	for _, norm := range []string{"pre_layrnorm", "post_layernorm"} {
		p.floats("vision_model."+norm+".weight", width)
		p.floats("vision_model."+norm+".bias", width)
	}
	for l := range s.Layers {
		layer := fmt.Sprintf("encoder.layers.%d.", l)
		for _, norm := range []string{"layer_norm1", "layer_norm2"} {
			p.floats("vision_model."+layer+norm+".weight", width)
			p.floats("vision_model."+layer+norm+".bias", width)
		}
		for _, name := range []string{"q_proj", "k_proj", "v_proj", "out_proj"} {
			p.multiplication(fmt.Sprintf("/vision_model/encoder/layers.%d/self_attn/%s", l, name), width, width)
			p.floats("vision_model."+layer+"self_attn."+name+".bias", width)
		}
		p.multiplication(fmt.Sprintf("/vision_model/encoder/layers.%d/mlp/fc1", l), width, 4*width)
		p.floats("vision_model."+layer+"mlp.fc1.bias", 4*width)
		p.multiplication(fmt.Sprintf("/vision_model/encoder/layers.%d/mlp/fc2", l), 4*width, width)
		p.floats("vision_model."+layer+"mlp.fc2.bias", width)
	}
	p.multiplication("/visual_projection", width, smallDim)
	return p
}

func (p *published) floats(name string, dims ...int64) {
	n := int64(1)
	for _, d := range dims {
		n *= d
	}
	v := make([]float32, n)
	for i := range v {
		v[i] = p.r.Float32() - 0.5
	}
	p.Initializer = append(p.Initializer, &onnxpb.Tensor{
		Name: name, DataType: onnxpb.Tensor_FLOAT, Dims: dims, RawData: safetensors.Tensor{Data: v}.Bytes(),
	})
}

func (p *published) multiplication(name string, in, out int64) {
	base := fmt.Sprintf("onnx::MatMul_%d", 1000+len(p.Node))
	q := make([]byte, in*out)
	for i := range q {
		q[i] = byte(int8(p.r.IntN(255) - 127))
	}
	scales := make([]float32, out)
	for i := range scales {
		scales[i] = 0.01 * (1 + p.r.Float32())
	}
	p.Initializer = append(p.Initializer,
		&onnxpb.Tensor{Name: base + "_quantized", DataType: onnxpb.Tensor_INT8, Dims: []int64{in, out}, RawData: q},
		&onnxpb.Tensor{Name: base + "_scale", DataType: onnxpb.Tensor_FLOAT, Dims: []int64{out}, FloatData: scales},
	)
	p.Node = append(p.Node, &onnxpb.Node{
		Name: name + "/MatMul_quant", OpType: "MatMulInteger", Output: []string{name},
		Input: []string{"x_quantized", base + "_quantized", "x_zero_point", base + "_zero_point"},
	})
}

// constant returns the constant of that name.
func (p *published) constant(t *testing.T, name string) *onnxpb.Tensor {
	t.Helper()
	for _, c := range p.Initializer {
		if c.Name == name {
			return c
		}
	}
	t.Fatalf("no constant %s", name)
	return nil
}

func (p *published) file(t *testing.T) []byte {
	t.Helper()
	b, err := proto.Marshal(&onnxpb.Model{IrVersion: 7, Graph: p.Graph})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// calibration returns the tensors of a calibration for the small shape.
func calibration() map[string][]float32 {
	tensors := map[string][]float32{"proj.input_scale": {0.02}, "proj.input_zero_point": {100}}
	for l := range smallShape.Layers {
		for name, in := range map[string]int{
			"qkv": smallShape.Width, "out": smallShape.Width, "fc1": smallShape.Width, "fc2": 4 * smallShape.Width,
		} {
			key := fmt.Sprintf("layers.%d.%s", l, name)
			factors := make([]float32, in)
			for i := range factors {
				factors[i] = 0.5 + float32(i%3)
			}
			tensors[key+".smooth"] = factors
			tensors[key+".input_scale"], tensors[key+".input_zero_point"] = []float32{0.03}, []float32{128}
		}
	}
	return tensors
}

func calibrationFile(t *testing.T, tensors map[string][]float32) []byte {
	t.Helper()
	var list []safetensors.Tensor
	for name, v := range tensors {
		list = append(list, safetensors.Tensor{Name: name, Shape: []int{len(v)}, Data: v})
	}
	b, err := safetensors.Encode(list)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// textTower is an ONNX file with the inputs of a text tower and nothing else.
func textTower(t *testing.T, width int64) []byte {
	t.Helper()
	dim := func(n int64) *onnxpb.Shape_Dimension {
		return &onnxpb.Shape_Dimension{Value: &onnxpb.Shape_Dimension_DimValue{DimValue: n}}
	}
	b, err := proto.Marshal(&onnxpb.Model{Graph: &onnxpb.Graph{Input: []*onnxpb.ValueInfo{{
		Name: "context",
		Type: &onnxpb.Type{TensorType: &onnxpb.Type_TensorType{
			ElemType: onnxpb.Tensor_FLOAT, Shape: &onnxpb.Shape{Dim: []*onnxpb.Shape_Dimension{dim(1), dim(77), dim(width)}},
		}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

// smallFolder writes the folder of a small encoder and the archive of its
// weights, and pins both.
func smallFolder(t *testing.T) (dir, archive string) {
	t.Helper()
	member := newPublished().file(t)
	var zipped bytes.Buffer
	w := zip.NewWriter(&zipped)
	for name, content := range map[string][]byte{"small/encoder.onnx": member, "small/__init__.py": []byte("raise SystemExit\n")} {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	archive = filepath.Join(dir, "small.whl")
	document := map[string]any{
		"format": "agiqa-encoder/1", "name": "small", "digest": "sha256:" + sum(nil),
		"architecture":  map[string]any{"activation": "quick_gelu", "vision": smallShape, "embed_dim": smallDim},
		"embedding_dim": smallDim, "image_size": 224, "capabilities": map[string]any{"text": "quality-words"},
		"default_checkpoint": "fine", "files": map[string]any{},
		"weights": encoder.Source{
			Archive: encoder.File{Name: "small.whl", SHA256: sum(zipped.Bytes()), Bytes: int64(zipped.Len())},
			Member:  encoder.File{Name: "small/encoder.onnx", SHA256: sum(member), Bytes: int64(len(member))},
		},
	}
	raw, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	write(t, archive, zipped.Bytes())
	write(t, filepath.Join(dir, "encoder.json"), raw)
	write(t, filepath.Join(dir, "calibration.safetensors"), calibrationFile(t, calibration()))
	write(t, filepath.Join(dir, "clip_text_encoder", "1", "model.onnx"), textTower(t, 8))
	if _, err := encoder.Pin(dir, archive); err != nil {
		t.Fatal(err)
	}
	return dir, archive
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
