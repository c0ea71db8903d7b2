package checkpoint_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

// originalFolder is what make_torch.py wrote as CLIP-AGIQA's training does.
func originalFolder(name string) string { return filepath.Join("testdata", "original", name) }

// originalExpectation is what make_torch.py says of a folder's last epoch.
type originalExpectation struct {
	Encoder quality.Digest `json:"encoder"`
	Digest  quality.Digest `json:"digest"`
	Tensors map[string]struct {
		Shape   []int     `json:"shape"`
		Float32 []float32 `json:"float32"`
	} `json:"tensors"`
}

func expectOriginal(t *testing.T, name string) (want originalExpectation) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(originalFolder(name), "expected.json"))
	if err == nil {
		err = json.Unmarshal(b, &want)
	}
	if err != nil {
		t.Fatal(err)
	}
	return want
}

func originalOptions(t *testing.T) checkpoint.OriginalOptions {
	return checkpoint.OriginalOptions{
		Name: "agiqa-3k", Score: checkpoint.ManifestScore{Min: 0, Max: 5, Unit: "MOS"},
		Encoder: checkpoint.ManifestEncoder{Name: "vit-b-16", Digest: expectOriginal(t, "shared").Encoder},
	}
}

func TestOpenOriginal(t *testing.T) {
	for _, test := range []struct {
		folder   string
		specific bool
	}{{"shared", false}, {"specific", true}} {
		t.Run(test.folder, func(t *testing.T) {
			want := expectOriginal(t, test.folder)
			b, err := checkpoint.OpenOriginal(originalFolder(test.folder), originalOptions(t), checkpoint.DefaultLimits())
			if err != nil {
				t.Fatal(err)
			}
			if got := b.Checkpoint().Digest; got != want.Digest {
				t.Errorf("digest is %s, training's is %s", got, want.Digest)
			}
			head := b.Head()
			for name, got := range map[string][]float32{
				"context": b.PromptSpec().Context, "head.0.weight": head.W0, "head.0.bias": head.B0,
				"head.1.weight": head.W1, "head.1.bias": head.B1,
			} {
				if diff := cmp.Diff(want.Tensors[name].Float32, got); diff != "" {
					t.Errorf("%s: (-want +got)\n%s", name, diff)
				}
			}
			if head.Dim != 8 || head.Hidden != 5 {
				t.Errorf("head of D=%d, H=%d, want 8 and 5", head.Dim, head.Hidden)
			}
			p := b.PromptSpec()
			if p.ContextLength != 4 || p.W != 6 || p.ClassSpecific != test.specific || p.Position != clip.End {
				t.Errorf("prompts: length %d, width %d, class-specific %t, position %s", p.ContextLength,
					p.W, p.ClassSpecific, p.Position)
			}
			if len(b.Golden()) != 0 {
				t.Errorf("%d golden cases, want none", len(b.Golden()))
			}
			if m := b.Manifest(); m.Licence != "unknown" || !strings.Contains(string(m.Training), `"epoch":10`) {
				t.Errorf("licence %q, training %s", m.Licence, m.Training)
			}
		})
	}
}

// A network that DataParallel trained has "module." before each name. It is the
// same checkpoint; where only some names have it, the error names one of them.
func TestOpenOriginalOfDataParallel(t *testing.T) {
	enc := quality.Encoder{Name: "e", Digest: quality.DigestOf([]byte("e")), Dim: 8, TextWidth: 6}
	d := checkpointtest.New(enc, "parallel", 3)
	open := func(name func(string) string) (*checkpoint.Bundle, error) {
		dir := t.TempDir()
		d.WriteOriginalNamed(t, dir, 4, name)
		o := originalOptions(t)
		o.Encoder = d.Manifest.Encoder
		return checkpoint.OpenOriginal(dir, o, checkpoint.DefaultLimits())
	}
	plain, err := open(func(name string) string { return name })
	if err != nil {
		t.Fatal(err)
	}
	parallel, err := open(func(name string) string { return "module." + name })
	if err != nil {
		t.Fatal(err)
	}
	if got, want := parallel.Checkpoint().Digest, plain.Checkpoint().Digest; got != want {
		t.Errorf("digest is %s, without module. it is %s", got, want)
	}
	_, err = open(func(name string) string {
		if name == "1.bias" {
			return "module." + name
		}
		return name
	})
	if err == nil || !strings.Contains(err.Error(), `tensor "state_dict.module.1.bias" is not part of a checkpoint`) {
		t.Errorf("one name with module.: error is %v", err)
	}
}

func TestOpenOriginalChoosesTheEpoch(t *testing.T) {
	opened := func(edit func(*checkpoint.OriginalOptions)) checkpoint.Manifest {
		t.Helper()
		o := originalOptions(t)
		edit(&o)
		b, err := checkpoint.OpenOriginal(originalFolder("shared"), o, checkpoint.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		return b.Manifest()
	}
	last := opened(func(*checkpoint.OriginalOptions) {})
	tenth := opened(func(o *checkpoint.OriginalOptions) { o.Epoch = 10 })
	second := opened(func(o *checkpoint.OriginalOptions) { o.Epoch = 2 })
	best := opened(func(o *checkpoint.OriginalOptions) { o.Best = true })
	if last.Digest != tenth.Digest {
		t.Errorf("the default is %s, want epoch 10, which is %s", last.Training, tenth.Digest)
	}
	if second.Digest == tenth.Digest || !strings.Contains(string(second.Training), `"epoch":2`) {
		t.Errorf("epoch 2 is %s, %s", second.Digest, second.Training)
	}
	if best.Digest != second.Digest {
		t.Errorf("the best is %s, want that of epoch 2, %s", best.Digest, second.Digest)
	}
	front := opened(func(o *checkpoint.OriginalOptions) { o.Position, o.Licence = clip.Front, "MIT" })
	if front.Digest == last.Digest || front.ClassTokenPosition != clip.Front || front.Licence != "MIT" {
		t.Errorf("with options: %s, position %s, licence %s", front.Digest, front.ClassTokenPosition, front.Licence)
	}
}

// original is a copy of a sound folder, for a test to spoil.
func original(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(originalFolder("shared"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestOpenOriginalRefuses(t *testing.T) {
	const prompts, head = "prompt_learner/model.pth.tar-10", "regression/model.pth.tar-10"
	// put replaces a file by a faulty part.
	put := func(file, name string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			b, err := os.ReadFile(filepath.Join(originalFolder("faulty"), name+".pth"))
			if err == nil {
				err = os.WriteFile(filepath.Join(dir, file), b, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	remove := func(file string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.RemoveAll(filepath.Join(dir, file)); err != nil {
				t.Fatal(err)
			}
		}
	}
	rename := func(from, to string) func(*testing.T, string) {
		return func(t *testing.T, dir string) {
			if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, test := range []struct {
		name  string
		spoil func(t *testing.T, dir string)
		want  string
	}{
		{"not a number in the head", put(head, "head_nan"), head + `: tensor "4.bias": element 0 is NaN`},
		{"infinity in the head", put(head, "head_infinite"), `tensor "1.bias": element 0 is +Inf`},
		{"a number too large", put(head, "head_too_large_for_float32"), `tensor "4.bias": element 0 is +Inf`},
		{"a deeper head", put(head, "head_deeper"), `tensor "state_dict.7.weight" is not part of a checkpoint`},
		{"a head without a bias", put(head, "head_without_bias"), `tensor "1.bias" is missing`},
		{"a head for other inputs", put(head, "head_not_of_seven"), `"head.0.weight" has shape [5 57], want [H 7*D]`},
		{"a head of two scores", put(head, "head_of_two_scores"), `"head.1.weight" has shape [2 5], want [1 5]`},
		{"prompts of one dimension", put(prompts, "prompts_of_one"), prompts + `: tensor "ctx" has shape [6]`},
		{"prompts for five categories", put(prompts, "prompts_of_five"), `has shape [5 4 6], want [6 4]`},
		{"prompts that fill the text", put(prompts, "prompts_too_long"), "context length 76, want 1 to 75"},
		{"prompts of whole numbers", put(prompts, "prompts_whole_numbers"), `tensor "ctx": is of type int32`},
		{"no epoch", put(prompts, "prompts_without_epoch"), prompts + ": does not say its epoch"},
		{"a bare state_dict", put(prompts, "prompts_bare"), "does not say its epoch"},
		{"an epoch of another name", rename("regression/model.pth.tar-2", "regression/model.pth.tar-10"), head +
			": says that it is of epoch 2"},
		{"the head in the place of the prompts", rename(head, prompts), "ask for one that both have"},
		{"the last epochs differ", remove(head), "the last epoch of prompt_learner is 10, that of regression is 2"},
		{"no prompts", remove("prompt_learner"), "folder prompt_learner not found"},
		{"no head", remove("regression"), "folder regression not found"},
		{"no epochs", func(t *testing.T, dir string) {
			remove("regression/model.pth.tar-2")(t, dir)
			remove(head)(t, dir)
		}, "regression has no file model.pth.tar-<epoch>"},
		{"not a zip archive", func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, head), 3) },
			head + ": is not a zip archive"},
		{"half a file", func(t *testing.T, dir string) { truncate(t, filepath.Join(dir, head), 3000) }, head +
			": zip directory"},
		{"a link that leads out", func(t *testing.T, dir string) {
			outside := filepath.Join(t.TempDir(), "elsewhere")
			if err := os.Rename(filepath.Join(dir, head), outside); err != nil {
				t.Fatal(err)
			}
			if err := os.Symlink(outside, filepath.Join(dir, head)); err != nil {
				t.Fatal(err)
			}
		}, "escapes"},
		{"a pipe", func(t *testing.T, dir string) {
			remove(head)(t, dir)
			if err := syscall.Mkfifo(filepath.Join(dir, head), 0o600); err != nil {
				t.Fatal(err)
			}
		}, head + ": is not a regular file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := original(t)
			test.spoil(t, dir)
			_, err := checkpoint.OpenOriginal(dir, originalOptions(t), checkpoint.DefaultLimits())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("error is %v, want one with %q", err, test.want)
			}
			if kind := quality.KindOf(err); kind != quality.KindCheckpointInvalid && test.want != "escapes" {
				t.Errorf("kind is %s, want %s", kind, quality.KindCheckpointInvalid)
			}
		})
	}
}

func truncate(t *testing.T, file string, size int64) {
	t.Helper()
	if err := os.Truncate(file, size); err != nil {
		t.Fatal(err)
	}
}

func TestOpenOriginalAsksForEpochs(t *testing.T) {
	for _, test := range []struct {
		name   string
		folder string
		epoch  int
		best   bool
		want   string
	}{
		{"an epoch that is not there", "shared", 7, false, "file prompt_learner/model.pth.tar-7 not found"},
		{"no best one", "specific", 0, true, "file prompt_learner/model-best.pth.tar not found"},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := originalOptions(t)
			o.Epoch, o.Best = test.epoch, test.best
			_, err := checkpoint.OpenOriginal(originalFolder(test.folder), o, checkpoint.DefaultLimits())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error is %v, want one with %q", err, test.want)
			}
		})
	}
}

// The best files of two folders may be of different epochs: no name tells.
func TestOpenOriginalWantsOneBest(t *testing.T) {
	dir := original(t)
	b, err := os.ReadFile(filepath.Join(dir, "regression", "model.pth.tar-10"))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "regression", "model-best.pth.tar"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	o := originalOptions(t)
	o.Best = true
	_, err = checkpoint.OpenOriginal(dir, o, checkpoint.DefaultLimits())
	const want = "regression/model-best.pth.tar: is of epoch 10, prompt_learner/model-best.pth.tar of epoch 2"
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("error is %v, want one with %q", err, want)
	}
}

func TestOpenOriginalLimits(t *testing.T) {
	for want, edit := range map[string]func(*checkpoint.Limits){
		"has 8689 bytes, at most 4000 are allowed":   func(l *checkpoint.Limits) { l.WeightsBytes = 1000 },
		"315 elements with the prompts, at most 314": func(l *checkpoint.Limits) { l.Tensors.Elements = 314 },
		"shape [5 56] has more than 279 elements":    func(l *checkpoint.Limits) { l.Tensors.Elements = 279 },
		"Elements is 0, must be positive":            func(l *checkpoint.Limits) { l.Tensors.Elements = 0 },
	} {
		limits := checkpoint.DefaultLimits()
		edit(&limits)
		_, err := checkpoint.OpenOriginal(originalFolder("shared"), originalOptions(t), limits)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error is %v, want one with %q", err, want)
		}
	}
}

func TestOriginalOptionsValidate(t *testing.T) {
	o := checkpoint.OriginalOptions{
		Name: "Not A Name", Position: "aside", Epoch: -1, Best: true, Licence: "a\nb",
		Score: checkpoint.ManifestScore{Min: 0, Max: math.Inf(1)},
	}
	err := o.Validate()
	for _, want := range []string{
		`name "Not A Name"`, `class_token_position is "aside"`, "score: unit", "score: max is +Inf", "encoder: name",
		"encoder: digest is not set", "licence", "epoch is -1", "the best one are both asked for",
	} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v\nlacks %q", err, want)
		}
	}
	if _, err := checkpoint.OpenOriginal(originalFolder("shared"), o,
		checkpoint.DefaultLimits()); quality.KindOf(err) != quality.KindCheckpointInvalid {
		t.Errorf("OpenOriginal: error is %v, want kind %s", err, quality.KindCheckpointInvalid)
	}
	if err := originalOptions(t).Validate(); err != nil {
		t.Errorf("sound options: %v", err)
	}
}

func TestOpenOriginalNoFolder(t *testing.T) {
	_, err := checkpoint.OpenOriginal(filepath.Join(t.TempDir(), "none"), originalOptions(t), checkpoint.DefaultLimits())
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error is %v, want %v", err, fs.ErrNotExist)
	}
}

// An original becomes a bundle once someone has computed golden cases, and
// stays the same checkpoint.
func TestOriginalToBundle(t *testing.T) {
	b, err := checkpoint.OpenOriginal(originalFolder("specific"), originalOptions(t), checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "agiqa-3k")
	checkpointtest.WriteBundle(t, b, dir)
	_, err = checkpoint.Open(dir, checkpoint.DefaultLimits())
	if quality.KindOf(err) != quality.KindCheckpointInvalid {
		t.Errorf("without golden cases: error is %v, want kind %s", err, quality.KindCheckpointInvalid)
	}
	golden := checkpoint.GoldenCase{ImageEmbedding: unit(rand.New(rand.NewPCG(1, 2))), Score: 2.5}
	b, err = b.WithGolden([]checkpoint.GoldenCase{golden})
	if err != nil {
		t.Fatal(err)
	}
	checkpointtest.WriteBundle(t, b, dir)
	read, err := checkpoint.Open(dir, checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got, want := read.Checkpoint(), b.Checkpoint(); got != want {
		t.Errorf("Checkpoint: %+v, want %+v", got, want)
	}
	if diff := cmp.Diff(b.PromptSpec(), read.PromptSpec()); diff != "" {
		t.Errorf("PromptSpec: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(b.Head(), read.Head()); diff != "" {
		t.Errorf("Head: (-want +got)\n%s", diff)
	}
	if diff := cmp.Diff(b.Golden(), read.Golden()); diff != "" {
		t.Errorf("Golden: (-want +got)\n%s", diff)
	}
}

func TestWithGoldenRefuses(t *testing.T) {
	b := newDraft("a", 1).bundle(t)
	sound := unit(rand.New(rand.NewPCG(1, 2)))
	for name, cases := range map[string][]checkpoint.GoldenCase{
		"golden: no case":            nil,
		"golden[0]: image_embedding": {{ImageEmbedding: sound[1:], Score: 1}},
		"golden[1]: score is NaN": {{ImageEmbedding: sound, Score: 1},
			{ImageEmbedding: sound, Score: math.NaN()}},
		"golden[0]: image_embedding: embedding has norm": {{ImageEmbedding: make(quality.Embedding, dim), Score: 1}},
	} {
		_, err := b.WithGolden(cases)
		if err == nil || !strings.Contains(err.Error(), name) || quality.KindOf(err) != quality.KindCheckpointInvalid {
			t.Errorf("error is %v, want %s with %q", err, quality.KindCheckpointInvalid, name)
		}
	}
}
