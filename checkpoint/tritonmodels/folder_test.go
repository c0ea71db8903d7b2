package tritonmodels_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/checkpoint/tritonmodels"
	"github.com/agiqa/agiqa/quality"
)

var encoder = quality.Encoder{Name: "tiny", Digest: quality.DigestOf([]byte("tiny")), Dim: 4,
	TextWidth: 3, ContextLength: 77}

// bundle returns a bundle whose golden score nobody looks at here.
func bundle(t *testing.T, name string, seed uint64) *checkpoint.Bundle {
	t.Helper()
	d := checkpointtest.New(encoder, name, seed)
	d.Manifest.Golden = []checkpoint.GoldenCase{{ImageEmbedding: quality.Embedding{1, 0, 0, 0}}}
	return d.Bundle(t)
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFolder(t *testing.T) {
	dir := t.TempDir()
	f := tritonmodels.NewFolder(dir)
	b := bundle(t, "a", 1)
	c := b.Checkpoint()
	for _, want := range []bool{false, true} {
		if has, err := f.Has(c); err != nil || has != want {
			t.Errorf("Has = %t, %v, want %t", has, err, want)
		}
		must(t, f.Write(b))
	}
	if got := names(t, dir); !slices.Equal(got, []string{c.EnsembleModel(), c.HeadModel()}) {
		t.Errorf("models %v", got)
	}
	must(t, f.Remove(c))
	must(t, f.Remove(c))
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("models %v after removal", got)
	}
}

// TestFolderBesideAnother: Triton refuses a name that it finds twice.
func TestFolderBesideAnother(t *testing.T) {
	dir, other := t.TempDir(), t.TempDir()
	b := bundle(t, "a", 1)
	must(t, tritonmodels.NewFolder(other).Write(b))
	f := tritonmodels.NewFolder(dir, other)
	must(t, f.Write(b))
	if has, err := f.Has(b.Checkpoint()); err != nil || !has {
		t.Errorf("Has = %t, %v", has, err)
	}
	must(t, f.Remove(b.Checkpoint()))
	if got := names(t, dir); len(got) != 0 {
		t.Errorf("models %v in the folder", got)
	}
	if got := names(t, other); len(got) != 2 {
		t.Errorf("models %v in the other folder, which is not ours to change", got)
	}
}

func TestTidy(t *testing.T) {
	dir := t.TempDir()
	f := tritonmodels.NewFolder(dir)
	kept, lost, old, gone := bundle(t, "kept", 1), bundle(t, "lost", 2), bundle(t, "old", 3), bundle(t, "gone", 4)
	for _, b := range []*checkpoint.Bundle{kept, old, gone} {
		must(t, f.Write(b))
	}
	config := filepath.Join(dir, old.Checkpoint().HeadModel(), "configs", "embedded.pbtxt")
	must(t, os.WriteFile(config, []byte("# of an earlier release"), 0o600))
	must(t, os.Mkdir(filepath.Join(dir, ".prompt_head_0123456789abcdef.new-1"), 0o700)) // a write that was cut off
	must(t, os.Mkdir(filepath.Join(dir, "clip_image_encoder"), 0o700))                  // not a checkpoint's
	must(t, f.Tidy([]*checkpoint.Bundle{kept, lost, old}))
	want := []string{"clip_image_encoder"}
	for _, b := range []*checkpoint.Bundle{kept, lost, old} {
		want = append(want, b.Checkpoint().HeadModel(), b.Checkpoint().EnsembleModel())
	}
	slices.Sort(want)
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("models %v, want %v", got, want)
	}
	if raw, err := os.ReadFile(config); err != nil || string(raw) == "# of an earlier release" {
		t.Errorf("the old configuration is still there: %s, %v", raw, err)
	}
	if err := tritonmodels.NewFolder(filepath.Join(dir, "nowhere")).Tidy(nil); err == nil {
		t.Error("a folder that is not there was tidied")
	}
}
