package encoder

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	strictjson "github.com/go-json-experiment/json"

	"github.com/agiqa/agiqa/quality"
)

// DocumentFile is the name of the file that describes an encoder, in its
// folder and in a model repository.
const DocumentFile = "encoder.json"

const documentFormat = "agiqa-encoder/1"

// Files of an encoder, in its folder and in a model repository. Which of the
// two image graphs a repository has depends on what it is for.
const (
	calibrationFile = "calibration.safetensors"
	imageFP32       = imageModel + "/1/model.onnx"
	imageInt8       = imageModel + "/1/model.int8.onnx"
	textGraph       = textModel + "/1/model.onnx"
	textModel       = "clip_text_encoder"
)

// graphOf returns the image graph of a precision.
func graphOf(p Precision) string {
	if p == Int8 {
		return imageInt8
	}
	return imageFP32
}

// Document is encoder.json: what an encoder is, with every file's content
// pinned.
type Document struct {
	Format       string         `json:"format"`
	Name         string         `json:"name"`
	Digest       quality.Digest `json:"digest"` // of the weights: see digest
	Architecture struct {
		Family     string          `json:"family"`
		Activation string          `json:"activation"`
		Vision     Vision          `json:"vision"`
		Text       json.RawMessage `json:"text,omitempty"`
		EmbedDim   int             `json:"embed_dim"`
	} `json:"architecture"`
	EmbeddingDim  int `json:"embedding_dim"`
	TextWidth     int `json:"text_width"`
	ContextLength int `json:"context_length"`
	VocabSize     int `json:"vocab_size"`
	ImageSize     int `json:"image_size"`
	Capabilities  struct {
		// Text is what the text tower knows: "general" language, or
		// "quality-words" only.
		Text string `json:"text"`
	} `json:"capabilities"`
	// DefaultCheckpoint scores when a request names none and no setting says
	// otherwise. Optional.
	DefaultCheckpoint string             `json:"default_checkpoint,omitempty"`
	Files             map[string]Content `json:"files"`
	Weights           Source             `json:"weights"`
	Licence           string             `json:"licence"`
	Source            string             `json:"source"`

	// What an export notes of itself. Nothing here reads it.
	Opset   json.RawMessage `json:"opset,omitempty"`
	Tools   json.RawMessage `json:"tools,omitempty"`
	Metrics json.RawMessage `json:"metrics,omitempty"`
}

// Content pins the bytes of a file.
type Content struct {
	SHA256 string `json:"sha256"` // 64 hexadecimal digits
	Bytes  int64  `json:"bytes"`
}

func contentOf(b []byte) Content {
	sum := sha256.Sum256(b)
	return Content{hex.EncodeToString(sum[:]), int64(len(b))}
}

// Folder is an encoder's folder.
type Folder struct {
	Document
	dir string
	raw []byte // encoder.json
}

// Open reads the folder of an encoder. An error names the file and the fault.
func Open(dir string) (*Folder, error) {
	f, err := read(dir)
	if err != nil {
		return nil, err
	}
	if err := f.Document.check(); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, DocumentFile), err)
	}
	return f, nil
}

func read(dir string) (*Folder, error) {
	raw, err := os.ReadFile(filepath.Join(dir, DocumentFile))
	if err != nil {
		return nil, fmt.Errorf("encoder: %w", err)
	}
	f := &Folder{dir: dir, raw: raw}
	// Names in another case, twice, or unknown are refused, not dropped.
	if err := strictjson.Unmarshal(raw, &f.Document, strictjson.RejectUnknownMembers(true)); err != nil {
		return nil, fmt.Errorf("%s: %w", filepath.Join(dir, DocumentFile), err)
	}
	return f, nil
}

// capabilities of text towers.
var capabilities = []string{"general", "quality-words"}

// check reports every fault of a document.
func (d Document) check() error {
	var faults []error
	add := func(format string, args ...any) { faults = append(faults, fmt.Errorf(format, args...)) }
	if d.Format != documentFormat {
		add("format is %.40q, want %q", d.Format, documentFormat)
	}
	if d.Architecture.Activation != "quick_gelu" {
		add("activation is %.40q; only quick_gelu can be converted", d.Architecture.Activation)
	}
	v := d.Architecture.Vision
	if v.Width < 1 || v.Layers < 1 || v.Heads < 1 || v.Patch < 1 || v.Width%v.Heads != 0 || v.Resolution%v.Patch != 0 {
		add("architecture.vision %+v: sizes must be positive, heads divide the width and patches the resolution", v)
	}
	if v.Resolution != quality.ImageSize || d.ImageSize != quality.ImageSize {
		add("image_size is %d, the server prepares %d", d.ImageSize, quality.ImageSize)
	}
	if d.EmbeddingDim < 1 || d.EmbeddingDim != d.Architecture.EmbedDim {
		add("embedding_dim is %d and embed_dim %d, want one positive number", d.EmbeddingDim, d.Architecture.EmbedDim)
	}
	if d.TextWidth < 1 || d.ContextLength < 1 {
		add("text_width is %d and context_length %d, want positive numbers", d.TextWidth, d.ContextLength)
	}
	if !slices.Contains(capabilities, d.Capabilities.Text) {
		add("capabilities.text is %.40q, want one of %q", d.Capabilities.Text, capabilities)
	}
	if d.DefaultCheckpoint != "" && !quality.ValidCheckpointName(d.DefaultCheckpoint) {
		add("default_checkpoint %.80q is no checkpoint's name", d.DefaultCheckpoint)
	}
	for _, name := range []string{imageFP32, imageInt8, textGraph} {
		if len(d.Files[name].SHA256) != 2*sha256.Size {
			add("files has no SHA-256 of %s", name)
		}
	}
	if want := d.digest(); d.Digest != want {
		add("digest is %s, that of its graphs is %s", d.Digest, want)
	}
	return errors.Join(faults...)
}

// digest stands for the encoder's weights: the image graph in full precision
// and the text graph, as the trainer computes it. Other precisions of the
// image graph are forms of the same weights.
func (d Document) digest() quality.Digest {
	return quality.DigestOf(fmt.Appendf(nil, "%s\n%s\n%s\n", documentFormat,
		d.Files[imageFP32].SHA256, d.Files[textGraph].SHA256))
}

// Image returns the image graph in precision p, composed from the archive that
// the weights come in. A result other than the pinned one is an error.
func (f *Folder) Image(archive string, p Precision) ([]byte, error) {
	file, err := f.Weights.Read(archive)
	if err != nil {
		return nil, err
	}
	graph, err := f.convert(file, p)
	if err != nil {
		return nil, fmt.Errorf("encoder %s: %w", f.Name, err)
	}
	if got, want := contentOf(graph), f.Files[graphOf(p)]; got != want {
		return nil, fmt.Errorf("encoder %s: the converted graph %s has SHA-256 %s, want %s", f.Name,
			graphOf(p), got.SHA256, want.SHA256)
	}
	return graph, nil
}

func (f *Folder) convert(file []byte, p Precision) ([]byte, error) {
	raw, err := os.ReadFile(filepath.Join(f.dir, calibrationFile))
	if err != nil {
		return nil, err
	}
	calibration, err := ParseCalibration(raw)
	if err != nil {
		return nil, err
	}
	return Convert(file, f.Architecture.Vision, f.EmbeddingDim, calibration, p)
}

// Text returns the text graph, checked against encoder.json.
func (f *Folder) Text() ([]byte, error) {
	graph, err := os.ReadFile(filepath.Join(f.dir, textGraph))
	if err != nil {
		return nil, fmt.Errorf("encoder %s: %w", f.Name, err)
	}
	if got, want := contentOf(graph), f.Files[textGraph]; got != want {
		return nil, fmt.Errorf("encoder %s: %s has SHA-256 %s, want %s", f.Name, textGraph, got.SHA256, want.SHA256)
	}
	return graph, nil
}

// fileMatches reports whether the file at path has that content.
func fileMatches(path string, want Content) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	if info, err := file.Stat(); err != nil || info.Size() != want.Bytes {
		return false
	}
	h := sha256.New()
	if _, err := io.Copy(h, file); err != nil {
		return false
	}
	return hex.EncodeToString(h.Sum(nil)) == want.SHA256
}

// ArchiveName returns the name of the archive that the weights of the encoder
// in dir come in.
func ArchiveName(dir string) (string, error) {
	f, err := read(dir)
	if err != nil {
		return "", err
	}
	return f.Weights.Archive.Name, nil
}
