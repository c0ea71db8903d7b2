package checkpoint

import (
	"bytes"
	"embed"
	"fmt"
	"text/template"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// Batch sizes of the models. The ensemble's is the smaller of its parts', and
// training writes the image encoder with this one.
const (
	headBatch         = 64
	imageEncoderBatch = 32
)

// Variant is a configuration of a model, picked by the server's
// --model-config-name.
type Variant string

// The variants.
const (
	Embedded Variant = "embedded" // python backend, NumPy: a server without the onnxruntime backend
	CPU      Variant = "cpu"      // onnxruntime backend
	GPU      Variant = "gpu"      // onnxruntime backend on CUDA
)

//go:embed model/model.py model/head.pbtxt.tmpl model/ensemble.pbtxt.tmpl
var masters embed.FS

// folder holds a model's files by their slash-separated names.
type folder map[string][]byte

// headFolder returns the files of the head's model: its numbers twice, as a
// graph for onnxruntime and as tensors for NumPy.
func headFolder(b *Bundle) (folder, error) {
	graph, err := headGraph(b.head)
	if err != nil {
		return nil, err
	}
	h := b.head
	tensors, err := safetensors.Encode([]safetensors.Tensor{
		{Name: tensorW0, Shape: []int{h.Hidden, parts * h.Dim}, Data: h.W0},
		{Name: tensorB0, Shape: []int{h.Hidden}, Data: h.B0},
		{Name: tensorW1, Shape: []int{1, h.Hidden}, Data: h.W1},
		{Name: tensorB1, Shape: []int{1}, Data: h.B1},
	})
	if err != nil {
		return nil, fmt.Errorf("head tensors: %w", err)
	}
	program, err := masters.ReadFile("model/model.py")
	if err != nil {
		return nil, err
	}
	files := folder{"1/model.onnx": graph, "1/head.safetensors": tensors, "1/model.py": program}
	return files, addConfigs(files, b, b.Checkpoint().HeadModel(), "head.pbtxt.tmpl")
}

// HeadModel is a head's model for one kind of server: its configuration, as
// config.pbtxt, and the files that this configuration needs, by their
// slash-separated names.
type HeadModel struct {
	Config []byte
	Files  map[string][]byte
}

// NewHeadModel returns what [Materialize] would write of b's head for servers
// of variant v, for those that share no disk with the writer.
func NewHeadModel(b *Bundle, v Variant) (HeadModel, error) {
	files, err := headFolder(b)
	if err != nil {
		return HeadModel{}, err
	}
	names := []string{"1/model.onnx"}
	if v == Embedded {
		names = []string{"1/model.py", "1/head.safetensors"}
	}
	model := HeadModel{Config: files["configs/"+string(v)+".pbtxt"], Files: map[string][]byte{}}
	if model.Config == nil {
		return HeadModel{}, fmt.Errorf("there is no variant %.40q of a head", v)
	}
	for _, name := range names {
		model.Files[name] = files[name]
	}
	return model, nil
}

// ensembleFolder returns the files of the ensemble. Triton wants a version
// folder even where it is empty, and git does not keep empty folders.
func ensembleFolder(b *Bundle) (folder, error) {
	files := folder{"1/.gitkeep": nil}
	return files, addConfigs(files, b, b.Checkpoint().EnsembleModel(), "ensemble.pbtxt.tmpl")
}

// addConfigs writes one configuration a variant. Text templates rather than
// package prototext, whose output is not stable on purpose. What they insert
// is digests, numbers and a checked name: nothing that needs escaping.
func addConfigs(files folder, b *Bundle, model, master string) error {
	t, err := template.ParseFS(masters, "model/"+master)
	if err != nil {
		return err
	}
	for _, v := range []Variant{Embedded, CPU, GPU} {
		var out bytes.Buffer
		err := t.Execute(&out, map[string]any{
			"Model":         model,
			"Variant":       string(v),
			"Checkpoint":    b.Checkpoint(),
			"Dim":           b.head.Dim,
			"Categories":    quality.CategoryCount,
			"ImageSize":     quality.ImageSize,
			"HeadBatch":     headBatch,
			"EnsembleBatch": min(headBatch, imageEncoderBatch),
			"WarmUp":        []int{1, headBatch},
		})
		if err != nil {
			return fmt.Errorf("%s for %s: %w", master, v, err)
		}
		files["configs/"+string(v)+".pbtxt"] = out.Bytes()
	}
	return nil
}
