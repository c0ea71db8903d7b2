package checkpoint

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// Names of the tensors of a bundle.
const (
	tensorContext = "context"
	tensorW0      = "head.0.weight"
	tensorB0      = "head.0.bias"
	tensorW1      = "head.1.weight"
	tensorB1      = "head.1.bias"

	tensorReference = "reference" // optional; not part of the models
)

// Bundle is one checked checkpoint. It never changes after it was read, and
// may be shared between goroutines.
type Bundle struct {
	manifest Manifest
	prompt   clip.PromptSpec
	head     Head

	views       quality.Views
	calibration *quality.Calibration // nil where the manifest has no interval
	reference   *quality.Reference   // nil where it has none
}

// Open reads and checks the bundle in the folder dir. A link that leads out of
// dir is not followed. Faults of the bundle are *[quality.Error] of kind
// checkpoint_invalid that name file, tensor, found and wanted; a disk that does not
// answer gives any other error.
func Open(dir string, limits Limits) (*Bundle, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("checkpoint bundle: %w", err)
	}
	defer root.Close()
	b, err := Read(root.FS(), limits)
	if err != nil {
		return nil, fmt.Errorf("checkpoint bundle %s: %w", dir, err)
	}
	return b, nil
}

// Read reads and checks the bundle at the top of fsys, with the errors of
// [Open].
func Read(fsys fs.FS, limits Limits) (*Bundle, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	document, err := readFile(fsys, ManifestFile, limits.ManifestBytes)
	if err != nil {
		return nil, err
	}
	weights, err := readFile(fsys, WeightsFile, limits.WeightsBytes)
	if err != nil {
		return nil, err
	}
	return decode(document, weights, limits)
}

// Decode checks a bundle whose two files are in memory, with the errors of
// [Open].
func Decode(manifest, weights []byte, limits Limits) (*Bundle, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	if int64(len(weights)) > limits.WeightsBytes {
		return nil, fault(WeightsFile, fmt.Errorf("has more than %d bytes", limits.WeightsBytes))
	}
	return decode(manifest, weights, limits)
}

func decode(document, weights []byte, limits Limits) (*Bundle, error) {
	manifest, err := DecodeManifest(document, limits)
	if err != nil {
		return nil, fault(ManifestFile, err)
	}
	tensors, err := safetensors.Decode(weights, limits.Tensors)
	if err != nil {
		return nil, fault(WeightsFile, err)
	}
	return assemble(manifest, tensors)
}

// assemble checks that manifest and weights are about the same checkpoint.
// tensors are in order of name.
func assemble(m Manifest, tensors []safetensors.Tensor) (*Bundle, error) {
	byName := make(map[string]safetensors.Tensor, len(tensors))
	for _, t := range tensors {
		byName[t.Name] = t
	}
	head, err := readHead(byName, m.Prompt)
	if err != nil {
		return nil, fault(WeightsFile, err)
	}
	prompt, err := readPrompt(m, byName)
	if err != nil {
		return nil, fault(WeightsFile, err)
	}
	known := []string{tensorContext, tensorW0, tensorB0, tensorW1, tensorB1}
	if m.Reference != nil {
		known = append(known, tensorReference)
	}
	for _, t := range tensors {
		if !slices.Contains(known, t.Name) {
			return nil, fault(WeightsFile, fmt.Errorf("tensor %q is not part of a checkpoint", t.Name))
		}
	}
	b := &Bundle{manifest: m, prompt: prompt, head: head}
	if err := b.readMeaning(byName); err != nil {
		return nil, err
	}
	for i, g := range m.Golden {
		if err := g.ImageEmbedding.CheckUnit(head.Dim); err != nil {
			return nil, fault(ManifestFile, fmt.Errorf("golden[%d]: image_embedding: %w", i, err))
		}
		if err := b.checkGoldenPrompt(g); err != nil {
			return nil, fault(ManifestFile, fmt.Errorf("golden[%d]: %w", i, err))
		}
	}
	if got := contentDigest(m, tensors); got != m.Digest {
		return nil, fault(ManifestFile, fmt.Errorf("digest is %s, but the contents have %s", m.Digest, got))
	}
	return b, nil
}

// checkGoldenPrompt wants a golden case to have a prompt's embedding where the
// head reads one.
func (b *Bundle) checkGoldenPrompt(g GoldenCase) error {
	if !b.manifest.Prompt {
		if g.PromptEmbedding != nil {
			return errors.New("prompt_embedding: the checkpoint reads no prompt")
		}
		return nil
	}
	if err := g.PromptEmbedding.CheckUnit(b.head.Dim); err != nil {
		return fmt.Errorf("prompt_embedding: %w", err)
	}
	return nil
}

// readMeaning makes what the bundle says of its scores.
func (b *Bundle) readMeaning(tensors map[string]safetensors.Tensor) error {
	m := b.manifest
	var err error
	if b.views, err = m.viewsByRecipe(); err != nil {
		return fault(ManifestFile, err)
	}
	if m.Interval != nil {
		if b.calibration, err = m.Interval.calibration(); err != nil {
			return fault(ManifestFile, fmt.Errorf("interval: %w", err))
		}
	}
	if m.Reference == nil {
		return nil
	}
	t, ok := tensors[tensorReference]
	if !ok {
		return fault(WeightsFile, fmt.Errorf("tensor %q is missing, which the manifest declares", tensorReference))
	}
	if len(t.Shape) != 2 || t.Shape[0] < 1 || t.Shape[0] > quality.MaxReference || t.Shape[1] != b.head.Dim {
		return fault(WeightsFile, fmt.Errorf("tensor %q has shape %v, want [1 to %d, %d]",
			tensorReference, t.Shape, quality.MaxReference, b.head.Dim))
	}
	if b.reference, err = quality.NewReference(m.Reference.Threshold, b.head.Dim, t.Data); err != nil {
		return fault(WeightsFile, fmt.Errorf("%s: %w", tensorReference, err))
	}
	return nil
}

// readHead takes D and H from the first layer's weight and wants the other
// tensors to agree.
func readHead(tensors map[string]safetensors.Tensor, prompt bool) (Head, error) {
	h := Head{Prompt: prompt}
	parts := h.parts()
	w0, ok := tensors[tensorW0]
	if !ok {
		return Head{}, fmt.Errorf("tensor %q is missing", tensorW0)
	}
	if len(w0.Shape) != 2 || w0.Shape[0] < 1 || w0.Shape[1] < parts || w0.Shape[1]%parts != 0 {
		return Head{}, fmt.Errorf("tensor %q has shape %v, want [H %d*D]", tensorW0, w0.Shape, parts)
	}
	h.Hidden, h.Dim, h.W0 = w0.Shape[0], w0.Shape[1]/parts, w0.Data
	var err error
	if h.B0, err = tensorOf(tensors, tensorB0, h.Hidden); err != nil {
		return Head{}, err
	}
	if h.W1, err = tensorOf(tensors, tensorW1, 1, h.Hidden); err != nil {
		return Head{}, err
	}
	if h.B1, err = tensorOf(tensors, tensorB1, 1); err != nil {
		return Head{}, err
	}
	return h, nil
}

// readPrompt takes W from the context's last dimension; the manifest says the
// others.
func readPrompt(m Manifest, tensors map[string]safetensors.Tensor) (clip.PromptSpec, error) {
	context, ok := tensors[tensorContext]
	if !ok {
		return clip.PromptSpec{}, fmt.Errorf("tensor %q is missing", tensorContext)
	}
	want := []int{m.ContextLength}
	if m.ClassSpecific {
		want = []int{quality.CategoryCount, m.ContextLength}
	}
	last := len(context.Shape) - 1
	if last != len(want) || !slices.Equal(context.Shape[:last], want) || context.Shape[last] < 1 {
		return clip.PromptSpec{}, fmt.Errorf("tensor %q has shape %v, want %v and the text width",
			tensorContext, context.Shape, want)
	}
	spec := clip.PromptSpec{
		Categories:    m.Categories,
		Position:      m.ClassTokenPosition,
		ContextLength: m.ContextLength,
		ClassSpecific: m.ClassSpecific,
		W:             context.Shape[last],
		Context:       context.Data,
	}
	return spec, spec.Validate()
}

// tensorOf returns the numbers of a tensor that must be there and of a shape.
func tensorOf(tensors map[string]safetensors.Tensor, name string, shape ...int) ([]float32, error) {
	t, ok := tensors[name]
	if !ok {
		return nil, fmt.Errorf("tensor %q is missing", name)
	}
	if !slices.Equal(t.Shape, shape) {
		return nil, fmt.Errorf("tensor %q has shape %v, want %v", name, t.Shape, shape)
	}
	return t.Data, nil
}

// readFile reads a whole file of at most limit bytes.
func readFile(fsys fs.FS, name string, limit int64) ([]byte, error) {
	info, err := fs.Stat(fsys, name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, quality.Errorf(quality.KindCheckpointInvalid, "the bundle has no %s", name)
	case err != nil:
		return nil, fmt.Errorf("%s: %w", name, err)
	case !info.Mode().IsRegular(): // opening a pipe would wait for its writer
		return nil, fault(name, errors.New("is not a regular file"))
	}
	f, err := fsys.Open(name)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if int64(len(b)) > limit {
		return nil, fault(name, fmt.Errorf("has more than %d bytes", limit))
	}
	return b, nil
}

// fault is an error for whoever wrote the bundle.
func fault(file string, err error) error {
	return quality.Errorf(quality.KindCheckpointInvalid, "%s: %w", file, err)
}

// Checkpoint identifies the bundle in the domain's words.
func (b *Bundle) Checkpoint() quality.Checkpoint {
	return quality.Checkpoint{
		Name:    b.manifest.Name,
		Digest:  b.manifest.Digest,
		Encoder: b.manifest.Encoder.Digest,
		Task:    b.manifest.Task,
		Score: quality.ScoreRange{
			Min: b.manifest.Score.Min, Max: b.manifest.Score.Max, Unit: b.manifest.Score.Unit, Clamp: b.manifest.Score.Clamp,
		},
		Views:       b.views,
		Calibration: b.calibration,
		Reference:   b.reference,
		Prompt:      b.manifest.Prompt,
	}
}

// WithName returns the same checkpoint under another name. The digest stays:
// a name is not part of what a score depends on.
func (b *Bundle) WithName(name string) (*Bundle, error) {
	if !quality.ValidCheckpointName(name) {
		return nil, quality.Errorf(quality.KindCheckpointInvalid, "name %.80q does not match [a-z0-9][a-z0-9._-]{0,63}", name)
	}
	renamed := *b
	renamed.manifest.Name = name
	return &renamed, nil
}

// Manifest returns the checked manifest. Its slices must not be modified.
func (b *Bundle) Manifest() Manifest { return b.manifest }

// PromptSpec returns the learned context and how to place it, for
// [clip.Assemble]. Its slices must not be modified.
func (b *Bundle) PromptSpec() clip.PromptSpec { return b.prompt }

// Head returns the regression head.
func (b *Bundle) Head() Head { return b.head }

// Golden returns the cases that training computed: at least one, except in a
// bundle from [OpenOriginal], which has none until [Bundle.WithGolden].
func (b *Bundle) Golden() []GoldenCase { return b.manifest.Golden }

// CheckEncoder reports, as a *[quality.Error] of kind encoder_mismatch, when
// the bundle was trained on another encoder than e. Embeddings of two
// encoders mean different things even where their shapes agree.
func (b *Bundle) CheckEncoder(e quality.Encoder) error {
	trained := b.manifest.Encoder
	switch {
	case trained.Digest != e.Digest:
		return quality.Errorf(quality.KindEncoderMismatch,
			"checkpoint %q was trained on encoder %q (%s), the server has %q (%s)",
			b.manifest.Name, trained.Name, trained.Digest, e.Name, e.Digest)
	case b.head.Dim != e.Dim:
		return quality.Errorf(quality.KindEncoderMismatch,
			"checkpoint %q: head for embeddings of %d numbers, encoder %q gives %d",
			b.manifest.Name, b.head.Dim, e.Name, e.Dim)
	case b.prompt.W != e.TextWidth:
		return quality.Errorf(quality.KindEncoderMismatch,
			"checkpoint %q: context vectors of %d numbers, encoder %q takes %d",
			b.manifest.Name, b.prompt.W, e.Name, e.TextWidth)
	case b.manifest.Prompt && e.TextCapability != quality.TextGeneral:
		return quality.Errorf(quality.KindEncoderMismatch,
			"checkpoint %q reads the prompts of pictures, and the text tower of encoder %q knows quality words only",
			b.manifest.Name, e.Name)
	}
	return nil
}
