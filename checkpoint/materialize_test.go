package checkpoint_test

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/onnxpb"
	"github.com/agiqa/agiqa/checkpoint/safetensors"
	"github.com/agiqa/agiqa/quality"
)

// tree returns all files below dir, but for the bytecode that Python leaves
// beside a module that somebody imported.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, e fs.DirEntry, err error) error {
		if e != nil && e.IsDir() && e.Name() == "__pycache__" {
			return fs.SkipDir
		}
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, name))
		files[name] = string(b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestMaterialize(t *testing.T) {
	b := newDraft("demo", 1).bundle(t)
	dir := t.TempDir()
	if err := checkpoint.Materialize(b, dir); err != nil {
		t.Fatal(err)
	}
	c := b.Checkpoint()
	got := tree(t, dir)
	var want []string
	for _, f := range []string{"1/head.safetensors", "1/model.onnx", "1/model.py"} {
		want = append(want, c.HeadModel()+"/"+f)
	}
	want = append(want, c.EnsembleModel()+"/1/.gitkeep")
	for _, model := range []string{c.HeadModel(), c.EnsembleModel()} {
		for _, v := range []string{"embedded", "cpu", "gpu"} {
			want = append(want, model+"/configs/"+v+".pbtxt")
		}
	}
	slices.Sort(want)
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(got))); diff != "" {
		t.Fatalf("files: (-want +got)\n%s", diff)
	}

	t.Run("the same bytes elsewhere", func(t *testing.T) {
		other := t.TempDir()
		if err := checkpoint.Materialize(newDraft("demo", 1).bundle(t), other); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(got, tree(t, other)); diff != "" {
			t.Errorf("(-first +second)\n%s", diff)
		}
	})
	t.Run("head tensors", func(t *testing.T) {
		tensors, err := safetensors.Decode([]byte(got[c.HeadModel()+"/1/head.safetensors"]), safetensors.DefaultLimits())
		if err != nil {
			t.Fatal(err)
		}
		for _, x := range tensors {
			if want := newDraft("demo", 1).tensors[x.Name]; !cmp.Equal(want, x) {
				t.Errorf("%s: %v, want %v", x.Name, x, want)
			}
		}
		if len(tensors) != 4 {
			t.Errorf("%d tensors, want the head's 4", len(tensors))
		}
	})
	t.Run("graph", func(t *testing.T) {
		s, err := readSignature([]byte(got[c.HeadModel()+"/1/model.onnx"]))
		if err != nil {
			t.Fatal(err)
		}
		want := signature{
			IRVersion: 8, Opset: 17,
			Inputs: []graphValue{
				{Name: "image_embedding", Type: onnxpb.Tensor_FLOAT, Shape: []int64{dynamic, dim}},
				{Name: "text_embeddings", Type: onnxpb.Tensor_FLOAT, Shape: []int64{dynamic, 6, dim}},
			},
			Outputs: []graphValue{
				{Name: "score", Type: onnxpb.Tensor_FLOAT, Shape: []int64{dynamic, 1}},
				{Name: "category_similarity", Type: onnxpb.Tensor_FLOAT, Shape: []int64{dynamic, 6}},
			},
		}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("(-want +got)\n%s", diff)
		}
	})
	t.Run("readable by another user", func(t *testing.T) {
		err := filepath.WalkDir(filepath.Join(dir, c.HeadModel()), func(name string, e fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := e.Info()
			if err == nil && info.Mode().Perm()&0o044 != 0o044 {
				t.Errorf("%s has mode %v", name, info.Mode())
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestMaterializeAgain(t *testing.T) {
	b := newDraft("demo", 1).bundle(t)
	head := b.Checkpoint().HeadModel()
	tests := []struct {
		name   string
		change func(head string) error
		want   string // "" where it is a no-op
	}{
		{"nothing changed", func(string) error { return nil }, ""},
		{"python left its cache", func(head string) error {
			if err := os.Mkdir(filepath.Join(head, "1", "__pycache__"), 0o755); err != nil {
				return err
			}
			return os.WriteFile(filepath.Join(head, "1", "__pycache__", "model.cpython-311.pyc"), nil, 0o644)
		}, ""},
		{"a file changed", func(head string) error {
			return os.WriteFile(filepath.Join(head, "1", "model.py"), []byte("x"), 0o644)
		}, "its 1/model.py is another"},
		{"a file more", func(head string) error {
			return os.WriteFile(filepath.Join(head, "config.pbtxt"), nil, 0o644)
		}, "has config.pbtxt besides"},
		{"a file less", func(head string) error {
			return os.Remove(filepath.Join(head, "configs", "gpu.pbtxt"))
		}, "1 of 6 files are missing"},
		{"a file became a link", func(head string) error {
			name := filepath.Join(head, "1", "model.py")
			if err := os.Rename(name, filepath.Join(filepath.Dir(filepath.Dir(head)), "elsewhere.py")); err != nil {
				return err
			}
			return os.Symlink(filepath.Join(filepath.Dir(filepath.Dir(head)), "elsewhere.py"), name)
		}, "has 1/model.py besides"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "repository")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := checkpoint.Materialize(b, dir); err != nil {
				t.Fatal(err)
			}
			if err := tt.change(filepath.Join(dir, head)); err != nil {
				t.Fatal(err)
			}
			before := tree(t, dir)
			err := checkpoint.Materialize(b, dir)
			if diff := cmp.Diff(before, tree(t, dir)); diff != "" {
				t.Errorf("Materialize changed the folder (-before +after)\n%s", diff)
			}
			if tt.want == "" {
				if err != nil {
					t.Errorf("Materialize: %v, want none", err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) || quality.KindOf(err) != quality.KindConflict {
				t.Errorf("Materialize: %v, want a conflict with %q", err, tt.want)
			}
		})
	}
}

func TestMaterializeAtOnce(t *testing.T) {
	b := newDraft("demo", 1).bundle(t)
	dir := t.TempDir()
	var writers sync.WaitGroup
	for range 8 {
		writers.Go(func() {
			if err := checkpoint.Materialize(b, dir); err != nil {
				t.Errorf("Materialize: %v", err)
			}
		})
	}
	writers.Wait()
	wantModels(t, dir, b.Checkpoint().EnsembleModel(), b.Checkpoint().HeadModel())
}

func TestMaterializeNowhere(t *testing.T) {
	b := newDraft("demo", 1).bundle(t)
	if err := checkpoint.Materialize(b, filepath.Join(t.TempDir(), "absent")); err == nil {
		t.Error("Materialize made a repository where there was none")
	}
}

func TestRemove(t *testing.T) {
	a, b := newDraft("a", 1).bundle(t), newDraft("b", 2).bundle(t)
	dir := t.TempDir()
	for _, x := range []*checkpoint.Bundle{a, b} {
		if err := checkpoint.Materialize(x, dir); err != nil {
			t.Fatal(err)
		}
	}
	for _, when := range []string{"there", "already gone"} {
		if err := checkpoint.Remove(dir, a.Checkpoint().Digest); err != nil {
			t.Errorf("Remove, %s: %v", when, err)
		}
		wantModels(t, dir, b.Checkpoint().EnsembleModel(), b.Checkpoint().HeadModel())
	}
}

// wantModels wants dir to hold those folders and no temporary one.
func wantModels(t *testing.T, dir string, want ...string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, e := range entries {
		got = append(got, e.Name())
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("models: (-want +got)\n%s", diff)
	}
}
