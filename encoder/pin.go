package encoder

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/quality"
)

// Pin rewrites encoder.json in dir with what its files give today: the digests
// of the image graphs, composed from the archive, those of the text graph, and
// the encoder's own. It's for whoever changed the calibration or the text
// tower.
func Pin(dir, archive string) (quality.Digest, error) {
	f, err := read(dir)
	if err != nil {
		return quality.Digest{}, err
	}
	file, err := f.Weights.Read(archive)
	if err != nil {
		return quality.Digest{}, err
	}
	files := map[string]Content{}
	for _, p := range []Precision{FP32, Int8} {
		graph, err := f.convert(file, p)
		if err != nil {
			return quality.Digest{}, fmt.Errorf("encoder %s: %w", f.Name, err)
		}
		files[graphOf(p)] = contentOf(graph)
	}
	text, err := os.ReadFile(filepath.Join(dir, textGraph))
	if err != nil {
		return quality.Digest{}, fmt.Errorf("encoder %s: %w", f.Name, err)
	}
	files[textGraph] = contentOf(text)
	f.Files = files
	length, width, err := contextShape(text)
	if err != nil {
		return quality.Digest{}, fmt.Errorf("encoder %s: %s: %w", f.Name, textGraph, err)
	}
	f.ContextLength, f.TextWidth, f.Digest = length, width, f.digest()
	if err := f.Document.check(); err != nil {
		return quality.Digest{}, fmt.Errorf("encoder %s: %w", f.Name, err)
	}
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(f.Document); err != nil {
		return quality.Digest{}, err
	}
	return f.Digest, os.WriteFile(filepath.Join(dir, DocumentFile), out.Bytes(), 0o644)
}

// contextShape returns the size of the text graph's input context [N,L,W].
func contextShape(file []byte) (length, width int, err error) {
	var m onnxpb.Model
	if err := proto.Unmarshal(file, &m); err != nil {
		return 0, 0, fmt.Errorf("no ONNX file: %w", err)
	}
	for _, in := range m.GetGraph().GetInput() {
		dims := in.GetType().GetTensorType().GetShape().GetDim()
		if in.GetName() == "context" && len(dims) == 3 {
			return int(dims[1].GetDimValue()), int(dims[2].GetDimValue()), nil
		}
	}
	return 0, 0, fmt.Errorf("no input context [N,L,W]")
}
