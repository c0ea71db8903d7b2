package checkpoint

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/checkpoint/torchfile"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// Folders that CLIP-AGIQA's training writes, one for each part that learns,
// and the file of the best epoch.
const (
	originalPrompts = "prompt_learner"
	originalHead    = "regression"
	originalBest    = "model-best.pth.tar"
)

// originalCopies is how many times a training file may hold each number: as a
// weight, and up to three times as the state of an optimizer.
const originalCopies = 4

// OriginalOptions are what the original's files do not say of a checkpoint.
type OriginalOptions struct {
	// Name of the checkpoint.
	Name string
	// Position of the class name in the prompts (CLASS_TOKEN_POSITION in
	// training); empty stands for [clip.End], the original's default.
	Position clip.Position
	// Score is the scale of the data set: 0 to 5 for AGIQA-3K, 0 to 100 for
	// AIGCIQA2023.
	Score ManifestScore
	// Task is what people were asked for; empty stands for quality.
	Task quality.Task
	// Views of a picture whose mean score is its score; none stands for the one
	// that the original's training saw.
	Views []string
	// Recipe names how training resized pictures; empty stands for Pillow 12's.
	Recipe string
	// Encoder is the CLIP that the prompts were trained on. Required: the files
	// hold nothing to tell it by but the widths.
	Encoder ManifestEncoder
	// Licence of the weights; empty stands for "unknown".
	Licence string
	// Epoch picks the file model.pth.tar-<Epoch>; 0 the highest there is.
	Epoch int
	// Best picks model-best.pth.tar, which training writes when it validates.
	Best bool
}

// Validate reports every option that is not allowed, under its name in the
// manifest.
func (o OriginalOptions) Validate() error {
	m := o.manifest()
	m.ContextLength = 1 // the file will tell
	faults := []error{m.check()}
	for name, v := range map[string]float64{"min": o.Score.Min, "max": o.Score.Max} {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			faults = append(faults, fmt.Errorf("score: %s is %v", name, v))
		}
	}
	if o.Encoder.Digest.IsZero() {
		faults = append(faults, errors.New("encoder: digest is not set"))
	}
	if o.Epoch < 0 {
		faults = append(faults, fmt.Errorf("epoch is %d, must not be negative", o.Epoch))
	}
	if o.Best && o.Epoch != 0 {
		faults = append(faults, fmt.Errorf("epoch %d and the best one are both asked for", o.Epoch))
	}
	return errors.Join(faults...)
}

// manifest returns what the options say, and no more. What format 1 can say is
// of format 1: a checkpoint that was imported before has the same digest.
func (o OriginalOptions) manifest() Manifest {
	categories := quality.Categories()
	task, views, format := cmp.Or(o.Task, quality.TaskQuality), o.Views, FormatV1
	if len(views) == 0 {
		views = quality.Views{}.Squares()
	}
	recipe := manifestRecipe(o.Recipe)
	if task != quality.TaskQuality || !slices.Equal(views, quality.Views{}.Squares()) || recipe != "" || o.Score.Clamp {
		format = FormatV2
	}
	return Manifest{
		Format: format, Task: task, Views: views, Recipe: recipe, Name: o.Name, Categories: categories[:],
		ClassTokenPosition: cmp.Or(o.Position, clip.End),
		Score:              o.Score, Encoder: o.Encoder, Licence: cmp.Or(o.Licence, "unknown"),
		Training: json.RawMessage(`{}`), Metrics: json.RawMessage(`{}`), Golden: []GoldenCase{},
		Evaluation: []Evaluation{},
	}
}

// OpenOriginal reads a checkpoint as CLIP-AGIQA's own training leaves it
// (github.com/wzczc/CLIP-AGIQA): a folder with prompt_learner/model.pth.tar-N
// and regression/model.pth.tar-N, of the same epoch N. The files are pickles,
// of which nothing is executed; see package torchfile. The prompts are ctx
// [n,W] or [6,n,W], the head is 1.weight [H,7*D], 1.bias, 4.weight [1,H] and
// 4.bias, each with "module." before it where DataParallel trained the network;
// token_prefix and token_suffix are left, as the original does, since the
// encoder knows the tokens itself.
//
// The result is what a bundle of the same numbers would be, with the same
// digest, but without golden cases: nobody has computed any. So it cannot show
// that it is served right, and is no bundle to write, until
// [Bundle.WithGolden] has given it some.
//
// Errors are as those of [Open]; options that do not pass
// [OriginalOptions.Validate] are of kind checkpoint_invalid, too.
func OpenOriginal(dir string, o OriginalOptions, limits Limits) (*Bundle, error) {
	if err := limits.Validate(); err != nil {
		return nil, err
	}
	if err := o.Validate(); err != nil {
		return nil, quality.Errorf(quality.KindCheckpointInvalid, "original checkpoint: %w", err)
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, fmt.Errorf("original checkpoint: %w", err)
	}
	defer root.Close()
	b, err := readOriginal(root, o, limits)
	if err != nil {
		return nil, fmt.Errorf("original checkpoint %s: %w", dir, err)
	}
	return b, nil
}

func readOriginal(root *os.Root, o OriginalOptions, limits Limits) (*Bundle, error) {
	file, err := originalFile(root, o)
	if err != nil {
		return nil, err
	}
	prompts, err := readPart(root, path.Join(originalPrompts, file), limits, map[string]string{"ctx": tensorContext})
	if err != nil {
		return nil, err
	}
	head, err := readPart(root, path.Join(originalHead, file), limits, map[string]string{
		"1.weight": tensorW0, "1.bias": tensorB0, "4.weight": tensorW1, "4.bias": tensorB1,
	})
	if err != nil {
		return nil, err
	}
	if prompts.epoch != head.epoch {
		return nil, fault(head.file, fmt.Errorf("is of epoch %d, %s of epoch %d", head.epoch, prompts.file, prompts.epoch))
	}
	return join(o, prompts, head, limits)
}

// join makes the bundle of the two parts.
func join(o OriginalOptions, prompts, head originalPart, limits Limits) (*Bundle, error) {
	m := o.manifest()
	m.Training = fmt.Appendf(nil, `{"source":"github.com/wzczc/CLIP-AGIQA","epoch":%d}`, prompts.epoch)
	context := prompts.tensors[tensorContext].Shape
	if len(context) != 2 && len(context) != 3 {
		return nil,
			fault(prompts.file, fmt.Errorf("tensor \"ctx\" has shape %v, want [n W] or [%d n W]",
				context, quality.CategoryCount))
	}
	m.ClassSpecific, m.ContextLength = len(context) == 3, context[len(context)-2]

	b := &Bundle{}
	var err error
	if b.views, err = m.viewsByRecipe(); err != nil {
		return nil, err
	}
	if b.prompt, err = readPrompt(m, prompts.tensors); err != nil {
		return nil, fault(prompts.file, fmt.Errorf("in the names of a bundle: %w", err))
	}
	if b.head, err = readHead(head.tensors, false); err != nil {
		return nil, fault(head.file, fmt.Errorf("in the names of a bundle: %w", err))
	}
	tensors := []safetensors.Tensor{prompts.tensors[tensorContext]} // in order of name
	for _, name := range []string{tensorB0, tensorW0, tensorB1, tensorW1} {
		tensors = append(tensors, head.tensors[name])
	}
	total := 0
	for _, t := range tensors {
		total += len(t.Data)
	}
	if total > limits.Tensors.Elements {
		return nil,
			fault(head.file, fmt.Errorf("%d elements with the prompts, at most %d are allowed", total, limits.Tensors.Elements))
	}
	m.Digest = contentDigest(m, tensors)
	b.manifest = m
	return b, nil
}

// originalEpoch is the name of a file of one epoch.
var originalEpoch = regexp.MustCompile(`^model\.pth\.tar-([1-9][0-9]{0,8})$`)

// originalFile returns the name that the wanted file has in both folders.
func originalFile(root *os.Root, o OriginalOptions) (string, error) {
	switch {
	case o.Best:
		return originalBest, nil
	case o.Epoch > 0:
		return fmt.Sprintf("model.pth.tar-%d", o.Epoch), nil
	}
	prompts, err := lastEpoch(root, originalPrompts)
	if err != nil {
		return "", err
	}
	head, err := lastEpoch(root, originalHead)
	if err != nil {
		return "", err
	}
	if prompts != head {
		return "", quality.Errorf(quality.KindCheckpointInvalid, "the last epoch of %s is %d, that of %s is %d; ask for "+
			"one that both have",
			originalPrompts, prompts, originalHead, head)
	}
	return fmt.Sprintf("model.pth.tar-%d", prompts), nil
}

// lastEpoch returns the highest epoch in a folder.
func lastEpoch(root *os.Root, folder string) (int, error) {
	entries, err := fs.ReadDir(root.FS(), folder)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return 0, quality.Errorf(quality.KindCheckpointInvalid, "folder %s not found", folder)
	case err != nil:
		return 0, err
	}
	last := 0
	for _, e := range entries {
		if match := originalEpoch.FindStringSubmatch(e.Name()); match != nil {
			n, err := strconv.Atoi(match[1])
			if err != nil {
				return 0, fmt.Errorf("%s: %w", e.Name(), err)
			}
			last = max(last, n)
		}
	}
	if last == 0 {
		return 0, quality.Errorf(quality.KindCheckpointInvalid, "%s has no file model.pth.tar-<epoch>", folder)
	}
	return last, nil
}

// originalPart is what one file of the original holds.
type originalPart struct {
	file    string
	epoch   int64
	tensors map[string]safetensors.Tensor // by their names in a bundle
}

// readPart reads the tensors that names gives the names of a bundle. Another
// tensor would mean another network, and is an error.
func readPart(root *os.Root, file string, limits Limits, names map[string]string) (originalPart, error) {
	f, err := openRegular(root, file)
	if err != nil {
		return originalPart{}, err
	}
	defer f.Close()
	part := originalPart{file: file, tensors: map[string]safetensors.Tensor{}}
	if err := part.read(f, limits, names); err != nil {
		if _, ok := errors.AsType[*fs.PathError](err); ok {
			return originalPart{}, err // the disk's fault, not the file's
		}
		return originalPart{}, fault(file, err)
	}
	return part, nil
}

// openRegular opens a file that must be there. Opening a pipe would wait for
// its writer.
func openRegular(root *os.Root, file string) (*os.File, error) {
	info, err := root.Stat(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, quality.Errorf(quality.KindCheckpointInvalid, "file %s not found", file)
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular():
		return nil, fault(file, errors.New("is not a regular file"))
	}
	return root.Open(file)
}

func (p *originalPart) read(f *os.File, limits Limits, names map[string]string) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	bounds := torchfile.DefaultLimits()
	bounds.ArchiveBytes = originalCopies * limits.WeightsBytes
	saved, err := torchfile.Open(f, info.Size(), []string{"optimizer", "scheduler", "val_result"}, bounds)
	if err != nil {
		return err
	}
	if p.epoch, err = epochOf(saved, path.Base(p.file)); err != nil {
		return err
	}
	state := stateOf(saved)
	if err := onlyTensors(saved, state, names); err != nil {
		return err
	}
	for name, inBundle := range names {
		t, ok := saved.Tensors[state+name]
		if !ok {
			return fmt.Errorf("tensor %q is missing", name)
		}
		data, err := finite(t, limits.Tensors.Elements)
		if err != nil {
			return fmt.Errorf("tensor %q: %w", name, err)
		}
		p.tensors[inBundle] = safetensors.Tensor{Name: inBundle, Shape: t.Shape, Data: data}
	}
	return nil
}

// stateOf returns what the names of the tensors of a network begin with. A
// network that was trained on several GPUs by DataParallel, or
// DistributedDataParallel, puts "module." before each.
func stateOf(saved *torchfile.File) string {
	const state, parallel = "state_dict.", "state_dict.module."
	for name := range saved.Tensors {
		if !strings.HasPrefix(name, parallel) {
			return state
		}
	}
	return parallel
}

// epochOf reads the epoch that a file says it is of, which must be the one in
// its name.
func epochOf(saved *torchfile.File, file string) (int64, error) {
	epoch, ok := saved.Scalars["epoch"].(int64)
	if !ok {
		return 0, errors.New("does not say its epoch")
	}
	if match := originalEpoch.FindStringSubmatch(file); match != nil && match[1] != strconv.FormatInt(epoch, 10) {
		return 0, fmt.Errorf("says that it is of epoch %d", epoch)
	}
	return epoch, nil
}

// finite reads at most limit numbers, which must all be finite.
func finite(t torchfile.Tensor, limit int) ([]float32, error) {
	if t.Len() > limit { // a view may repeat what the file holds once
		return nil, fmt.Errorf("shape %v has more than %d elements", t.Shape, limit)
	}
	data, err := t.Float32()
	if err != nil {
		return nil, err
	}
	for i, v := range data {
		if f := float64(v); math.IsNaN(f) || math.IsInf(f, 0) {
			return nil, fmt.Errorf("element %d is %v, must be finite", i, f)
		}
	}
	return data, nil
}

// onlyTensors wants no tensor but the named ones and the two that are left,
// each with state before its name.
func onlyTensors(saved *torchfile.File, state string, names map[string]string) error {
	known := []string{state + "token_prefix", state + "token_suffix"}
	for name := range names {
		known = append(known, state+name)
	}
	for name := range saved.Tensors {
		if !slices.Contains(known, name) {
			return fmt.Errorf("tensor %.140q is not part of a checkpoint", name)
		}
	}
	return nil
}

// WithGolden returns a copy of b with other golden cases, at least one: image
// embeddings of b's encoder and the scores that [Head.Score], or training, has
// computed for them. The digest stays, since no score depends on them. The
// error is of kind checkpoint_invalid.
func (b *Bundle) WithGolden(cases []GoldenCase) (*Bundle, error) {
	if len(cases) == 0 {
		return nil, quality.Errorf(quality.KindCheckpointInvalid, "%w", errNoGolden)
	}
	for i, g := range cases {
		if err := g.ImageEmbedding.CheckUnit(b.head.Dim); err != nil {
			return nil, quality.Errorf(quality.KindCheckpointInvalid, "golden[%d]: image_embedding: %w", i, err)
		}
		if err := b.checkGoldenPrompt(g); err != nil {
			return nil, quality.Errorf(quality.KindCheckpointInvalid, "golden[%d]: %w", i, err)
		}
		if math.IsNaN(g.Score) || math.IsInf(g.Score, 0) {
			return nil, quality.Errorf(quality.KindCheckpointInvalid, "golden[%d]: score is %v", i, g.Score)
		}
	}
	other := *b
	other.manifest.Golden = slices.Clone(cases)
	return &other, nil
}
