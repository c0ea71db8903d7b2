package encoder_test

import (
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/encoder"
	"github.com/agiqa/agiqa/internal/lockfile"
)

// defaultFolder is the encoder that is served unless a setting says otherwise.
const defaultFolder = "../encoders/clip-vit-b-16"

// TestDefaultFolder reads what is committed of the default encoder.
func TestDefaultFolder(t *testing.T) {
	e, err := encoder.Open(defaultFolder)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := e.Text(); err != nil {
		t.Error(err)
	}
	lock, err := os.ReadFile(filepath.Join(defaultFolder, "requirements.lock"))
	if err != nil {
		t.Fatal(err)
	}
	w := e.Weights
	if want := w.Package + "==" + w.Version + " --hash=sha256:" + w.Archive.SHA256; !strings.Contains(string(lock), want) {
		t.Errorf("requirements.lock lacks %q", want)
	}
}

// TestConfigurations compares the configurations with those that the trainer
// writes of the small encoder, and the program with the trainer's.
func TestConfigurations(t *testing.T) {
	const small = "../model_repository"
	files, err := encoder.Configurations(small)
	if err != nil {
		t.Fatal(err)
	}
	own := map[string]bool{ // facts that the small encoder's models leave out
		"encoder_precision": true, "text_capability": true, "graph_file": true,
	}
	comparable := func(text []byte) string {
		var kept []string
		for line := range strings.Lines(string(text)) {
			name := strings.Split(line, `"`)
			if strings.HasPrefix(line, "#") || strings.HasPrefix(line, "default_model_filename") ||
				strings.HasPrefix(line, "parameters") && own[name[1]] {
				continue
			}
			kept = append(kept, line)
		}
		return strings.Join(kept, "")
	}
	for name, got := range files {
		want, err := os.ReadFile(filepath.Join(small, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".py") {
			if !bytes.Equal(got, want) {
				t.Errorf("%s differs from encoder/model/model.py", name)
			}
			continue
		}
		if diff := cmp.Diff(comparable(want), comparable(got)); diff != "" {
			t.Errorf("%s (-trainer's +ours):\n%s", name, diff)
		}
	}
}

// TestGPUsEncodeTextsInFP32: golden scores are replayed to 1e-4, and half
// precision and TF32 miss that. Images may be embedded in FP16. It looks at
// what is committed for the small encoder and at what is written for the
// default one.
func TestGPUsEncodeTextsInFP32(t *testing.T) {
	configs := map[string]string{}
	for name, dir := range map[string]string{"written": defaultFolder, "written of the small one": "../model_repository"} {
		files, err := encoder.Configurations(dir)
		if err != nil {
			t.Fatal(err)
		}
		for file, text := range files {
			if strings.HasSuffix(file, "/gpu.pbtxt") {
				configs[name+": "+file] = string(text)
			}
		}
	}
	committed, err := filepath.Glob("../model_repository/*/configs/gpu.pbtxt")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range committed {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		configs[file] = string(text)
	}
	texts := 0
	for name, text := range configs {
		halves := strings.Contains(text, `"precision_mode" value: "FP16"`)
		full := strings.Contains(text, `name: "cuda"`) && strings.Contains(text, `key: "use_tf32" value: "0"`) &&
			!strings.Contains(text, "tensorrt") && !halves
		switch {
		case strings.Contains(text, `platform: "ensemble"`):
		case strings.Contains(name, "clip_image_encoder"):
			if !halves {
				t.Errorf("%s: images aren't embedded in FP16", name)
			}
		case !full:
			t.Errorf("%s computes in less than FP32", name)
		default:
			texts++
		}
	}
	if texts < 5 { // three of texts, two heads
		t.Errorf("only %d configurations of texts and heads among %d", texts, len(configs))
	}
}

func TestOpenRefuses(t *testing.T) {
	for _, tt := range []struct{ name, from, to, want string }{
		{"another format", `"agiqa-encoder/1"`, `"agiqa-encoder/9"`, "format is"},
		{"a digest twice", `"bytes": `, `"sha256": "` + strings.Repeat("0", 64) + `", "bytes": `, "duplicate"},
		{"another digest", "DIGEST", "sha256:" + strings.Repeat("0", 64), "digest is"},
		{"an unknown member", `"digest": "sha256:`, `"digests": 1, "digest": "sha256:`, "unknown"},
		{"another case", `"embedding_dim"`, `"Embedding_Dim"`, `unknown object member name "Embedding_Dim"`},
		{"not UTF-8", `"quick_gelu"`, "\"\xff\"", "UTF-8"},
		{"another activation", `"quick_gelu"`, `"gelu"`, "only quick_gelu"},
		{"an unknown capability", `"quality-words"`, `"poetry"`, "capabilities.text"},
		{"heads that don't divide", `"heads": 2`, `"heads": 3`, "heads divide the width"},
		{"another size of images", `"image_size": 224`, `"image_size": 336`, "image_size"},
		{"a default that is a path", `"fine"`, `"../fine"`, "default_checkpoint"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, _ := smallFolder(t)
			file := filepath.Join(dir, "encoder.json")
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			from := strings.ReplaceAll(tt.from, "DIGEST", mustOpen(t, dir).Digest.String())
			changed := strings.ReplaceAll(string(raw), from, tt.to)
			if changed == string(raw) {
				t.Fatalf("encoder.json has no %s", tt.from)
			}
			write(t, file, []byte(changed))
			if _, err := encoder.Open(dir); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
		})
	}
}

// mustOpen opens a folder.
func mustOpen(t *testing.T, dir string) *encoder.Folder {
	t.Helper()
	e, err := encoder.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func TestWriteRepository(t *testing.T) {
	dir, archive := smallFolder(t)
	e := mustOpen(t, dir)
	out := filepath.Join(t.TempDir(), "deep", "models")
	if err := e.CheckRepository(out, nil, encoder.Int8); err == nil {
		t.Error("a repository that isn't there was accepted")
	}
	if changed, err := e.WriteRepository(out, archive, nil, encoder.Int8); err != nil || !changed {
		t.Fatalf("changed %t, error %v", changed, err)
	}
	if err := e.CheckRepository(out, nil, encoder.Int8); err != nil {
		t.Error(err)
	}
	if err := e.CheckRepository(out, nil, encoder.FP32); err == nil {
		t.Error("a repository without the graph for GPUs passed for one with it")
	}
	// Whole already: nothing is read from the archive, nothing is written.
	before, err := os.Stat(out)
	if err != nil {
		t.Fatal(err)
	}
	if changed, err := e.WriteRepository(out, "no such archive", nil, encoder.Int8); err != nil || changed {
		t.Errorf("changed %t, error %v", changed, err)
	}
	if after, err := os.Stat(out); err != nil || !os.SameFile(before, after) {
		t.Errorf("the folder was replaced (error %v)", err)
	}
	// More precisions are added to what is there, and stay.
	for _, p := range []encoder.Precision{encoder.FP32, encoder.Int8} {
		if _, err := e.WriteRepository(out, archive, nil, p); err != nil {
			t.Fatal(err)
		}
	}
	for _, p := range []encoder.Precision{encoder.FP32, encoder.Int8} {
		if err := e.CheckRepository(out, nil, p); err != nil {
			t.Error(err)
		}
	}
	config, err := os.ReadFile(filepath.Join(out, "clip_image_encoder", "configs", "embedded.pbtxt"))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"encoder_digest" value { string_value: "` + e.Digest.String(), `"encoder_precision" value { string_value: "int8" }`,
		`"graph_file" value { string_value: "model.int8.onnx" }`, `"default_checkpoint" value { string_value: "fine" }`,
	} {
		if !strings.Contains(string(config), want) {
			t.Errorf("the configuration lacks %s", want)
		}
	}
	left, err := filepath.Glob(filepath.Join(filepath.Dir(out), ".models.new-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("%q stayed (error %v)", left, err)
	}
}

// Triton may run as another user than whoever builds its models.
func TestWriteRepositoryForEveryUser(t *testing.T) {
	dir, archive := smallFolder(t)
	before := unix.Umask(0o077)
	defer unix.Umask(before)
	out := filepath.Join(t.TempDir(), "models")
	if _, err := mustOpen(t, dir).WriteRepository(out, archive, nil, encoder.Int8); err != nil {
		t.Fatal(err)
	}
	err := filepath.WalkDir(out, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		want := fs.FileMode(0o644)
		if entry.IsDir() {
			want = 0o755
		}
		if err == nil && info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestWriteRepositoryRepairs damages a repository in ways that a crash or a
// person may.
func TestWriteRepositoryRepairs(t *testing.T) {
	for _, tt := range []struct {
		name   string
		damage func(t *testing.T, out string)
		quick  bool // CheckRepository sees it without reading
	}{
		{"a graph cut short", func(t *testing.T, out string) {
			write(t, filepath.Join(out, "clip_image_encoder/1/model.int8.onnx"), []byte("x"))
		}, true},
		{"a graph gone", func(t *testing.T, out string) {
			if err := os.Remove(filepath.Join(out, "clip_text_encoder/1/model.onnx")); err != nil {
				t.Fatal(err)
			}
		}, true},
		{"another encoder.json",
			func(t *testing.T, out string) { write(t, filepath.Join(out, "encoder.json"), []byte("{}")) }, true},
		{"a configuration changed", func(t *testing.T, out string) {
			write(t, filepath.Join(out, "clip_text_encoder/configs/cpu.pbtxt"), []byte("name: 1"))
		}, false},
		{"a file too many", func(t *testing.T, out string) { write(t, filepath.Join(out, "notes.txt"), []byte("x")) }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, archive := smallFolder(t)
			e := mustOpen(t, dir)
			out := filepath.Join(t.TempDir(), "models")
			if _, err := e.WriteRepository(out, archive, nil, encoder.Int8); err != nil {
				t.Fatal(err)
			}
			tt.damage(t, out)
			if err := e.CheckRepository(out, nil, encoder.Int8); (err != nil) != tt.quick {
				t.Errorf("the check says %v", err)
			}
			if changed, err := e.WriteRepository(out, archive, nil, encoder.Int8); err != nil || !changed {
				t.Errorf("changed %t, error %v", changed, err)
			}
			if err := e.CheckRepository(out, nil, encoder.Int8); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWriteRepositoryRefuses changes what a repository is made of. Nothing of
// it may appear.
func TestWriteRepositoryRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(t *testing.T, dir, archive string)
		want   string
	}{
		{"another archive", func(t *testing.T, _, archive string) { write(t, archive, []byte("PK")) }, "SHA-256 is"},
		{"no archive", func(t *testing.T, _, archive string) {
			if err := os.Remove(archive); err != nil {
				t.Fatal(err)
			}
		}, "no such file"},
		{"another calibration", func(t *testing.T, dir, _ string) {
			c := calibration()
			c["layers.0.fc1.input_scale"][0] *= 1.01
			write(t, filepath.Join(dir, "calibration.safetensors"), calibrationFile(t, c))
		}, "the converted graph"},
		{"another text tower", func(t *testing.T, dir, _ string) {
			write(t, filepath.Join(dir, "clip_text_encoder/1/model.onnx"), textTower(t, 9))
		}, "clip_text_encoder/1/model.onnx has SHA-256"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			dir, archive := smallFolder(t)
			e := mustOpen(t, dir)
			tt.change(t, dir, archive)
			out := filepath.Join(t.TempDir(), "models")
			if _, err := e.WriteRepository(out, archive, nil, encoder.Int8); err == nil ||
				!strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one with %q", err, tt.want)
			}
			entries, err := os.ReadDir(filepath.Dir(out))
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range entries {
				if !strings.HasSuffix(entry.Name(), ".lock") {
					t.Errorf("%s stayed", entry.Name())
				}
			}
		})
	}
}

func TestWriteRepositoryOneAtATime(t *testing.T) {
	dir, archive := smallFolder(t)
	parent := t.TempDir()
	release, err := lockfile.Acquire(filepath.Join(parent, ".models.lock"))
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	_, err = mustOpen(t, dir).WriteRepository(filepath.Join(parent, "models"), archive, nil, encoder.Int8)
	if err == nil || !strings.Contains(err.Error(), "another process writes") {
		t.Errorf("error is %v", err)
	}
}

// TestWriteRepositoryLeavesOtherBundles: heads belong to the encoder that they
// were trained on.
func TestWriteRepositoryLeavesOtherBundles(t *testing.T) {
	shipped, err := checkpoint.LoadDir("../demo/checkpoints", "", checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	dir, archive := smallFolder(t)
	e := mustOpen(t, dir)
	out := filepath.Join(t.TempDir(), "models")
	if _, err := e.WriteRepository(out, archive, shipped.List(), encoder.Int8); err != nil {
		t.Fatal(err)
	}
	heads, err := filepath.Glob(filepath.Join(out, "prompt_head_*"))
	if err != nil || len(heads) > 0 {
		t.Errorf("heads of another encoder: %q (error %v)", heads, err)
	}
	if err := e.CheckRepository(out, shipped.List(), encoder.Int8); err != nil {
		t.Error(err)
	}
}

// TestPin compares the digest with the form that the trainer computes.
func TestPin(t *testing.T) {
	dir, archive := smallFolder(t)
	first := mustOpen(t, dir)
	if first.TextWidth != 8 || first.ContextLength != 77 {
		t.Errorf("text width %d, context length %d, want those of the graph, 8 and 77", first.TextWidth, first.ContextLength)
	}
	want := "sha256:" + sum([]byte("agiqa-encoder/1\n"+first.Files["clip_image_encoder/1/model.onnx"].SHA256+"\n"+
		sum(textTower(t, 8))+"\n"))
	if got := first.Digest.String(); got != want {
		t.Errorf("digest is %s, want %s", got, want)
	}
	// A calibration changes the int8 graph and not the encoder.
	c := calibration()
	c["layers.0.fc1.input_scale"][0] *= 2
	write(t, filepath.Join(dir, "calibration.safetensors"), calibrationFile(t, c))
	if _, err := encoder.Pin(dir, archive); err != nil {
		t.Fatal(err)
	}
	second := mustOpen(t, dir)
	const graph = "clip_image_encoder/1/model.int8.onnx"
	if second.Digest != first.Digest || second.Files[graph] == first.Files[graph] {
		t.Errorf("digest %s to %s, int8 graph %v to %v", first.Digest, second.Digest, first.Files[graph], second.Files[graph])
	}
	if raw, err := json.Marshal(second.Weights); err != nil || !bytes.Contains(raw, []byte("small.whl")) {
		t.Errorf("weights are %s (error %v)", raw, err)
	}
}
