package checkpoint

import (
	"bytes"
	"embed"
	"fmt"
	"maps"
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

//go:embed model/model.py model/prompted.py model/panel.py model/head.pbtxt.tmpl model/ensemble.pbtxt.tmpl model/panel.pbtxt.tmpl
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
		{Name: tensorW0, Shape: []int{h.Hidden, h.parts() * h.Dim}, Data: h.W0},
		{Name: tensorB0, Shape: []int{h.Hidden}, Data: h.B0},
		{Name: tensorW1, Shape: []int{1, h.Hidden}, Data: h.W1},
		{Name: tensorB1, Shape: []int{1}, Data: h.B1},
	})
	if err != nil {
		return nil, fmt.Errorf("head tensors: %w", err)
	}
	name := "model/model.py"
	if h.Prompt {
		name = "model/prompted.py"
	}
	program, err := masters.ReadFile(name)
	if err != nil {
		return nil, err
	}
	files := folder{"1/model.onnx": graph, "1/head.safetensors": tensors, "1/model.py": program}
	return files, addConfigs(files, "head.pbtxt.tmpl", factsOf(b, b.Checkpoint().HeadModel()))
}

// Model is a model for one kind of server: its configuration, as
// config.pbtxt, and the files that this configuration needs, by their
// slash-separated names.
type Model struct {
	Config []byte
	Files  map[string][]byte
}

// NewHeadModel returns what [Materialize] would write of b's head for servers
// of variant v, for those that share no disk with the writer.
func NewHeadModel(b *Bundle, v Variant) (Model, error) {
	files, err := headFolder(b)
	if err != nil {
		return Model{}, err
	}
	return modelOf(files, v, "1/head.safetensors")
}

// modelOf picks what servers of variant v need of a model's files. tensors
// names those that model.py reads.
func modelOf(files folder, v Variant, tensors string) (Model, error) {
	names := []string{"1/model.onnx"}
	if v == Embedded {
		names = []string{"1/model.py", tensors}
	}
	model := Model{Config: files["configs/"+string(v)+".pbtxt"], Files: map[string][]byte{}}
	if model.Config == nil {
		return Model{}, fmt.Errorf("unknown model variant %.40q", v)
	}
	for _, name := range names {
		model.Files[name] = files[name]
	}
	return model, nil
}

// Configurations returns the configurations of b's models, by the names that
// [Materialize] gives them in a repository.
func Configurations(b *Bundle) (map[string][]byte, error) {
	c := b.Checkpoint()
	masters := map[string]string{c.HeadModel(): "head.pbtxt.tmpl"}
	if c.HasEnsemble() {
		masters[c.EnsembleModel()] = "ensemble.pbtxt.tmpl"
	}
	all := map[string][]byte{}
	for model, master := range masters {
		files := folder{}
		if err := addConfigs(files, master, factsOf(b, model)); err != nil {
			return nil, err
		}
		for name, text := range files {
			all[model+"/"+name] = text
		}
	}
	return all, nil
}

// ensembleFolder returns the files of the ensemble. Triton wants a version
// folder even where it is empty, and git does not keep empty folders.
func ensembleFolder(b *Bundle) (folder, error) {
	files := folder{"1/.gitkeep": nil}
	return files, addConfigs(files, "ensemble.pbtxt.tmpl", factsOf(b, b.Checkpoint().EnsembleModel()))
}

// factsOf are what the configurations of a checkpoint's models say.
func factsOf(b *Bundle, model string) map[string]any {
	return map[string]any{"Model": model, "Checkpoint": b.Checkpoint(), "Dim": b.head.Dim}
}

// addConfigs writes one configuration a variant. Text templates rather than
// package prototext, whose output is not stable on purpose. What they insert
// is digests, numbers and a checked name: nothing that needs escaping.
func addConfigs(files folder, master string, facts map[string]any) error {
	t, err := template.ParseFS(masters, "model/"+master)
	if err != nil {
		return err
	}
	for _, v := range []Variant{Embedded, CPU, GPU} {
		data := map[string]any{
			"Variant":       string(v),
			"Categories":    quality.CategoryCount,
			"ImageSize":     quality.ImageSize,
			"HeadBatch":     headBatch,
			"EnsembleBatch": min(headBatch, imageEncoderBatch),
			"WarmUp":        []int{1, headBatch},
		}
		maps.Copy(data, facts)
		var out bytes.Buffer
		if err := t.Execute(&out, data); err != nil {
			return fmt.Errorf("%s for %s: %w", master, v, err)
		}
		files["configs/"+string(v)+".pbtxt"] = out.Bytes()
	}
	return nil
}
