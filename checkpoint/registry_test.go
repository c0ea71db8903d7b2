package checkpoint_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/checkpointtest"
	"github.com/agiqa/agiqa/quality"
)

func TestRegistry(t *testing.T) {
	a, b := newDraft("a", 1).bundle(t), newDraft("b", 2).bundle(t)
	r, err := checkpoint.NewRegistry([]*checkpoint.Bundle{b, a}, "b")
	if err != nil {
		t.Fatal(err)
	}
	if got := r.List(); len(got) != 2 || got[0] != a || got[1] != b {
		t.Errorf("List: %v, want a and b", got)
	}
	for name, want := range map[string]*checkpoint.Bundle{"a": a, "b": b} {
		if got, err := r.Get(name); got != want || err != nil {
			t.Errorf("Get(%q) = %p, %v, want %p", name, got, err, want)
		}
	}
	if got, err := r.ByDigest(a.Checkpoint().Digest); got != a || err != nil {
		t.Errorf("ByDigest = %p, %v, want %p", got, err, a)
	}
	if got, err := r.Default(); got != b || err != nil {
		t.Errorf("Default = %p, %v, want %p", got, err, b)
	}
	r.List()[0] = nil
	if got := r.List()[0]; got != a {
		t.Error("a caller changed the registry through List")
	}
}

func TestRegistryMisses(t *testing.T) {
	r, err := checkpoint.NewRegistry([]*checkpoint.Bundle{newDraft("demo", 1).bundle(t)}, "")
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"": `""`, "../": `"../"`, "demo\x00": `"demo\x00"`, "dеmo": `"d\u0435mo"`, "demo ": `"demo "`,
		"demo\n": `"demo\n"`, "DEMO": `"DEMO"`,
		strings.Repeat("a", 10_000): `"` + strings.Repeat("a", 64) + `"...`,
	} {
		_, err := r.Get(name)
		if quality.KindOf(err) != quality.KindCheckpointNotFound ||
			!strings.HasSuffix(err.Error(), "checkpoint "+want+" not found; available: demo") {
			t.Errorf("Get(%.40q): %v, want %s named", name, err, want)
		}
	}
	if _, err := r.ByDigest(quality.Digest{}); quality.KindOf(err) != quality.KindCheckpointNotFound {
		t.Errorf("ByDigest of nothing: %v, want %s", err, quality.KindCheckpointNotFound)
	}
}

func TestRegistryDefault(t *testing.T) {
	a, b := newDraft("a", 1).bundle(t), newDraft("b", 2).bundle(t)
	tests := []struct {
		name    string
		bundles []*checkpoint.Bundle
		chosen  string
		want    string // "" for none
	}{
		{"none", nil, "", ""},
		{"the only one", []*checkpoint.Bundle{a}, "", "a"},
		{"no choice between two", []*checkpoint.Bundle{a, b}, "", ""},
		{"chosen", []*checkpoint.Bundle{a, b}, "a", "a"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r, err := checkpoint.NewRegistry(tt.bundles, tt.chosen)
			if err != nil {
				t.Fatal(err)
			}
			got, err := r.Default()
			switch {
			case tt.want == "" && !errors.Is(err, &quality.Error{Kind: quality.KindCheckpointNotFound}):
				t.Errorf("Default: %v, %v, want %s", got, err, quality.KindCheckpointNotFound)
			case tt.want != "" && (err != nil || got.Checkpoint().Name != tt.want):
				t.Errorf("Default: %v, %v, want %q", got, err, tt.want)
			}
		})
	}
}

func TestNewRegistryRefuses(t *testing.T) {
	tests := []struct {
		name    string
		bundles []*checkpoint.Bundle
		chosen  string
		want    string
	}{
		{"same name", []*checkpoint.Bundle{newDraft("a", 1).bundle(t), newDraft("a", 2).bundle(t)}, "",
			`two checkpoints are named "a"`},
		{"same contents", []*checkpoint.Bundle{newDraft("b", 1).bundle(t), newDraft("a", 1).bundle(t)}, "",
			`checkpoints "a" and "b" are the same: sha256:`},
		{"default is not there", []*checkpoint.Bundle{newDraft("a", 1).bundle(t)}, "b",
			`default checkpoint "b" not found among 1 checkpoints`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if _, err := checkpoint.NewRegistry(tt.bundles, tt.chosen); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("NewRegistry: %v, want an error with %q", err, tt.want)
			}
		})
	}
}

func TestLoadDir(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "first"), newDraft("a", 1).files(t))
	write(t, filepath.Join(dir, "second"), newDraft("b", 2).files(t))
	if err := os.Mkdir(filepath.Join(dir, "no-bundle"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "README.md"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	r, err := checkpoint.LoadDir(dir, "a", checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(r.List()); got != 2 {
		t.Errorf("%d bundles, want 2", got)
	}

	for _, name := range []string{"third", "fourth"} {
		broken := newDraft(name, 3)
		broken.manifest["digest"] = quality.DigestOf(nil).String()
		write(t, filepath.Join(dir, name), broken.files(t))
	}
	_, err = checkpoint.LoadDir(dir, "a", checkpoint.DefaultLimits())
	if err == nil || !strings.Contains(err.Error(), "third") || !strings.Contains(err.Error(), "fourth") {
		t.Errorf("LoadDir with two broken bundles: %v, want both named", err)
	}
	if _, err := checkpoint.LoadDir(filepath.Join(dir, "absent"), "",
		checkpoint.DefaultLimits()); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("LoadDir of nothing: %v, want %v", err, os.ErrNotExist)
	}
}

// TestRegistryReaders is for the race detector.
func TestRegistryReaders(t *testing.T) {
	r, err := checkpoint.NewRegistry([]*checkpoint.Bundle{newDraft("a", 1).bundle(t)}, "")
	if err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 8 {
		readers.Go(func() {
			for range 100 {
				b, err := r.Get("a")
				if err != nil || len(r.List()) != 1 || b.Checkpoint().Name != "a" {
					t.Errorf("Get: %v, %v", b, err)
				}
			}
		})
	}
	readers.Wait()
}

// A folder that a crash has left half-written is not a bundle.
func TestLoadDirPassesOverHidden(t *testing.T) {
	parent := t.TempDir()
	for name, seed := range map[string]uint64{"a": 1, ".a.new-1": 1} {
		checkpointtest.WriteBundle(t, newDraft("a", seed).bundle(t), filepath.Join(parent, name))
	}
	r, err := checkpoint.LoadDir(parent, "", checkpoint.DefaultLimits())
	if err != nil {
		t.Fatal(err)
	}
	if got := len(r.List()); got != 1 {
		t.Errorf("%d bundles, want 1", got)
	}
}
