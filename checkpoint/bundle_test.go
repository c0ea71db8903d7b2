package checkpoint_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"testing/fstest"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/clip"
	"github.com/agiqa/agiqa/quality"
)

func TestRead(t *testing.T) {
	d := newDraft("demo", 1)
	b := d.bundle(t)

	digest, err := quality.ParseDigest(d.digest())
	if err != nil {
		t.Fatal(err)
	}
	wantCheckpoint := quality.Checkpoint{
		Name: "demo", Digest: digest, Encoder: encoderDigest, Task: quality.TaskQuality,
		Score: quality.ScoreRange{Min: 1, Max: 5, Unit: "MOS"},
	}
	if got := b.Checkpoint(); got != wantCheckpoint {
		t.Errorf("Checkpoint: %+v, want %+v", got, wantCheckpoint)
	}
	wantPrompt := clip.PromptSpec{
		Categories: []string{"terrible", "bad", "poor", "average", "good", "perfect"},
		Position:   clip.End, ContextLength: context, ClassSpecific: true,
		W: width, Context: d.tensors["context"].Data,
	}
	if diff := cmp.Diff(wantPrompt, b.PromptSpec()); diff != "" {
		t.Errorf("PromptSpec: (-want +got)\n%s", diff)
	}
	wantHead := checkpoint.Head{
		Dim: dim, Hidden: hidden,
		W0: d.tensors["head.0.weight"].Data, B0: d.tensors["head.0.bias"].Data,
		W1: d.tensors["head.1.weight"].Data, B1: d.tensors["head.1.bias"].Data,
	}
	if diff := cmp.Diff(wantHead, b.Head()); diff != "" {
		t.Errorf("Head: (-want +got)\n%s", diff)
	}
	if got := b.Golden(); len(got) != 1 || got[0].Score != 3.25 || len(got[0].ImageEmbedding) != dim {
		t.Errorf("Golden: %+v, want one case of score 3.25 and %d numbers", got, dim)
	}
	if got := string(b.Manifest().Training); got != `{"data":"none","split":{"seed":1}}` {
		t.Errorf("Training: %s", got)
	}
}

func TestReadMeaning(t *testing.T) {
	d := newMeaningfulDraft("demo", 1)
	b := d.bundle(t)
	c := b.Checkpoint()
	if c != b.Checkpoint() {
		t.Error("two calls of Checkpoint give two values")
	}
	if want := (quality.ScoreRange{Min: 1, Max: 5, Unit: "MOS", Clamp: true}); c.Score != want {
		t.Errorf("score %+v, want %+v", c.Score, want)
	}
	if c.Task != quality.TaskAuthenticity {
		t.Errorf("task %q, want %q", c.Task, quality.TaskAuthenticity)
	}
	if want := "224,448/r0c1"; c.Views.String() != want {
		t.Errorf("views %s, want %s", c.Views, want)
	}
	if got := c.Calibration; got.Coverage() != 0.9 || got.HalfWidth(2) != 0.75 || got.HalfWidth(3) != 0.5 {
		t.Errorf("calibration %+v", got)
	}
	rows := d.tensors["reference"]
	if got := c.Reference; got.Threshold() != 0.25 || got.Rows() != 3 || !slices.Equal(got.Data(), rows.Data) {
		t.Errorf("reference %+v", got)
	}
	want := []checkpoint.Evaluation{
		{Dataset: "a set", Task: quality.TaskQuality, Images: 134, SRCC: 0.6, Low: 0.5, High: 0.7},
	}
	if diff := cmp.Diff(want, b.Manifest().Evaluation); diff != "" {
		t.Errorf("evaluation (-want +got):\n%s", diff)
	}

	for _, key := range []string{"interval", "reference", "prompt"} {
		delete(d.manifest, key)
	}
	delete(d.tensors, "reference")
	delete(d.manifest, "digest")
	if c := d.bundle(t).Checkpoint(); c.Calibration != nil || c.Reference != nil {
		t.Errorf("without interval and reference: %+v and %+v", c.Calibration, c.Reference)
	}
}

// TestDigestCountsMeaning wants another digest for every value of format 2
// that changes what a score means, and the same one for an evaluation.
func TestDigestCountsMeaning(t *testing.T) {
	seen := map[quality.Digest]string{}
	for name, change := range map[string]func(*draft){
		"nothing":        func(*draft) {},
		"task":           func(d *draft) { d.manifest["task"] = "quality" },
		"view":           func(d *draft) { d.manifest["views"] = []string{"224"} },
		"order of views": func(d *draft) { d.manifest["views"] = []string{"448/r0c1", "224"} },
		"clamp":          func(d *draft) { d.manifest["score"].(map[string]any)["clamp"] = false },
		"min":            func(d *draft) { d.manifest["score"].(map[string]any)["min"] = 0 },
		"max":            func(d *draft) { d.manifest["score"].(map[string]any)["max"] = 6 },
		"no interval":    func(d *draft) { delete(d.manifest, "interval") },
		"coverage":       func(d *draft) { d.manifest["interval"].(map[string]any)["coverage"] = 0.8 },
		"edge":           func(d *draft) { d.manifest["interval"].(map[string]any)["edges"] = []float64{2, 3.5} },
		"half width":     func(d *draft) { d.manifest["interval"].(map[string]any)["half_widths"] = []float64{1, 1, 1} },
		"threshold":      func(d *draft) { d.manifest["reference"].(map[string]any)["threshold"] = 0.5 },
		"reference":      func(d *draft) { slices.Reverse(d.tensors["reference"].Data[:dim]) },
		"no reference":   func(d *draft) { delete(d.manifest, "reference"); delete(d.tensors, "reference") },
		"format 1":       func(d *draft) { *d = *newDraft("demo", 1) },
	} {
		d := newMeaningfulDraft("demo", 1)
		change(d)
		digest := d.bundle(t).Checkpoint().Digest
		if other, ok := seen[digest]; ok {
			t.Errorf("%q and %q have the same digest", name, other)
		}
		seen[digest] = name
	}
	d := newMeaningfulDraft("demo", 1)
	d.manifest["evaluation"] = []any{}
	delete(d.manifest, "prompt") // false is its default
	if digest := d.bundle(t).Checkpoint().Digest; seen[digest] != "nothing" {
		t.Error("an evaluation changes the digest, or prompt: false does")
	}
}

func TestReadSharedContext(t *testing.T) {
	d := newDraft("shared", 2)
	x := d.tensors["context"]
	d.tensors["context"] = safetensors.Tensor{Name: "context", Shape: []int{context, width}, Data: x.Data[:context*width]}
	d.manifest["class_specific_context"] = false
	p := d.bundle(t).PromptSpec()
	if p.ClassSpecific || p.W != width || len(p.Context) != context*width {
		t.Errorf("PromptSpec: %+v, want %d x %d shared numbers", p, context, width)
	}
}

func TestReadRefuses(t *testing.T) {
	reshape := func(name string, shape ...int) func(*draft) {
		return func(d *draft) {
			n := 1
			for _, s := range shape {
				n *= s
			}
			d.tensors[name] = safetensors.Tensor{Name: name, Shape: shape, Data: make([]float32, n)}
		}
	}
	set := func(key string, value any) func(*draft) {
		return func(d *draft) { d.manifest[key] = value }
	}
	tests := []struct {
		name  string
		spoil func(*draft)
		want  string
	}{
		{"digest of other contents", set("digest", quality.DigestOf(nil).String()), "but the contents have sha256:"},
		{"one bit of one weight", func(d *draft) { d.manifest["digest"] = d.digest(); d.tensors["context"].Data[7]++ },
			"but the contents have"},
		{"no context", func(d *draft) { delete(d.tensors, "context") }, `weights.safetensors: tensor "context" is missing`},
		{"no head", func(d *draft) { delete(d.tensors, "head.0.weight") }, `"head.0.weight" is missing`},
		{"no bias", func(d *draft) { delete(d.tensors, "head.1.bias") }, `"head.1.bias" is missing`},
		{"one tensor more", reshape("token_prefix", 1), `"token_prefix" is not part of a checkpoint`},
		{"first layer is no matrix", reshape("head.0.weight", 7*dim), "has shape [56], want [H 7*D]"},
		{"first layer is not of seven parts", reshape("head.0.weight", hidden, 7*dim+1), "has shape [5 57], want [H 7*D]"},
		{"first layer is empty", reshape("head.0.weight", 0, 7*dim), "has shape [0 56], want [H 7*D]"},
		{"first layer reads nothing", reshape("head.0.weight", hidden, 0), "has shape [5 0], want [H 7*D]"},
		{"bias of another size", reshape("head.0.bias", hidden+1), "has shape [6], want [5]"},
		{"last layer without batch", reshape("head.1.weight", hidden), "has shape [5], want [1 5]"},
		{"last bias of two", reshape("head.1.bias", 2), "has shape [2], want [1]"},
		{"context of other length", reshape("context", 6, context+1, width), "has shape [6 3 3], want [6 2]"},
		{"context of five categories", reshape("context", 5, context, width), "has shape [5 2 3], want [6 2]"},
		{"shared context, said to be specific", reshape("context", context, width), "has shape [2 3], want [6 2]"},
		{"context of no width", reshape("context", 6, context, 0), "has shape [6 2 0]"},
		{"more vectors than a text has places", func(d *draft) {
			d.manifest["context_length"] = 76
			reshape("context", 6, 76, width)(d)
		}, "context length 76, want 1 to 75"},
		{"golden embedding of another size",
			set("golden", []any{map[string]any{"image_embedding": []float32{1}, "score": 1}}),
			"golden[0]: image_embedding: embedding has 1 numbers, want 8"},
		{"golden embedding not of norm 1",
			set("golden", []any{map[string]any{"image_embedding": make([]float32, dim), "score": 1}}), "norm 0, want 1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDraft("demo", 1)
			tt.spoil(d)
			wantFault(t, d.files(t), tt.want)
		})
	}
}

// wantFault wants Read to refuse with an error that its caller may see.
func wantFault(t *testing.T, files fstest.MapFS, want string) {
	t.Helper()
	_, err := checkpoint.Read(files, checkpoint.DefaultLimits())
	if err == nil {
		t.Fatalf("Read gave no error, want %q", want)
	}
	if !strings.Contains(err.Error(), want) {
		t.Errorf("Read: %q, want an error with %q", err, want)
	}
	if got := quality.KindOf(err); got != quality.KindCheckpointInvalid {
		t.Errorf("Read: kind %q, want %q", got, quality.KindCheckpointInvalid)
	}
	if len(err.Error()) > 600 {
		t.Errorf("Read: error of %d bytes echoes the file", len(err.Error()))
	}
}

func TestReadFiles(t *testing.T) {
	tests := []struct {
		name  string
		spoil func(fstest.MapFS)
		want  string
	}{
		{"no manifest", func(f fstest.MapFS) { delete(f, "manifest.json") }, "the bundle has no manifest.json"},
		{"no weights", func(f fstest.MapFS) { delete(f, "weights.safetensors") }, "the bundle has no weights.safetensors"},
		{"cut weights", func(f fstest.MapFS) {
			f["weights.safetensors"].Data = f["weights.safetensors"].Data[:200]
		}, "weights.safetensors: header length"},
		{"one byte more", func(f fstest.MapFS) {
			f["weights.safetensors"].Data = append(f["weights.safetensors"].Data, 0)
		}, "weights.safetensors: data has 1 bytes after the last tensor"},
		{"manifest is a folder", func(f fstest.MapFS) {
			delete(f, "manifest.json")
			f["manifest.json/x"] = &fstest.MapFile{}
		}, "manifest.json: is not a regular file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			files := newDraft("demo", 1).files(t)
			tt.spoil(files)
			wantFault(t, files, tt.want)
		})
	}
}

func TestReadLimits(t *testing.T) {
	tests := []struct {
		name string
		set  func(*checkpoint.Limits)
		want string
	}{
		{"manifest", func(l *checkpoint.Limits) { l.ManifestBytes = 100 }, "manifest.json: has more than 100 bytes"},
		{"weights", func(l *checkpoint.Limits) { l.WeightsBytes = 100 }, "weights.safetensors: has more than 100 bytes"},
		{"golden", func(l *checkpoint.Limits) { l.GoldenCases = 1 }, "golden: 2 cases, at most 1"},
		{"tensors", func(l *checkpoint.Limits) { l.Tensors.Tensors = 4 }, "more than 4 tensors"},
		{"not set", func(l *checkpoint.Limits) { *l = checkpoint.Limits{} },
			"ManifestBytes is 0, must be positive\ncheckpoint limit WeightsBytes is 0"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDraft("demo", 1)
			golden := d.manifest["golden"].([]any)
			d.manifest["golden"] = append(golden, golden...)
			limits := checkpoint.DefaultLimits()
			tt.set(&limits)
			_, err := checkpoint.Read(d.files(t), limits)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("Read: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestOpen(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, newDraft("demo", 1).files(t))
	b, err := checkpoint.Open(dir, checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got := b.Checkpoint().Name; got != "demo" {
		t.Errorf("name %q, want demo", got)
	}

	t.Run("no folder", func(t *testing.T) {
		_, err := checkpoint.Open(filepath.Join(dir, "x"), checkpoint.DefaultLimits())
		if !errors.Is(err, os.ErrNotExist) {
			t.Errorf("Open: %v, want %v", err, os.ErrNotExist)
		}
	})
	t.Run("a link out of the folder", func(t *testing.T) {
		linked := t.TempDir()
		for _, name := range []string{"manifest.json", "weights.safetensors"} {
			if err := os.Symlink(filepath.Join(dir, name), filepath.Join(linked, name)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := checkpoint.Open(linked, checkpoint.DefaultLimits()); err == nil {
			t.Error("Open followed a link out of the bundle")
		}
	})
	t.Run("a pipe does not block", func(t *testing.T) {
		piped := t.TempDir()
		if err := syscall.Mkfifo(filepath.Join(piped, "manifest.json"), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := checkpoint.Open(piped, checkpoint.DefaultLimits())
		if err == nil || !strings.Contains(err.Error(), "not a regular file") {
			t.Errorf("Open: %v, want an error with %q", err, "not a regular file")
		}
	})
}

func write(t *testing.T, dir string, files fstest.MapFS) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, f := range files {
		if err := os.WriteFile(filepath.Join(dir, name), f.Data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCheckEncoder(t *testing.T) {
	b := newDraft("demo", 1).bundle(t)
	same := quality.Encoder{Name: "tiny", Digest: encoderDigest, Dim: dim, TextWidth: width, ContextLength: 77}
	if err := b.CheckEncoder(same); err != nil {
		t.Errorf("CheckEncoder of its own encoder: %v", err)
	}
	tests := []struct {
		name   string
		change func(*quality.Encoder)
		want   string
	}{
		{"another digest", func(e *quality.Encoder) { e.Digest = quality.DigestOf(nil) }, `was trained on encoder "tiny"`},
		{"another dimension", func(e *quality.Encoder) { e.Dim++ }, "embeddings of 8 numbers, encoder \"tiny\" gives 9"},
		{"another text width", func(e *quality.Encoder) { e.TextWidth++ }, "vectors of 3 numbers, encoder \"tiny\" takes 4"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := same
			tt.change(&e)
			err := b.CheckEncoder(e)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("CheckEncoder: %v, want an error with %q", err, tt.want)
			}
			if got := quality.KindOf(err); got != quality.KindEncoderMismatch {
				t.Errorf("kind %q, want %q", got, quality.KindEncoderMismatch)
			}
		})
	}
}
