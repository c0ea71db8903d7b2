package tritonmodels

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/agiqa/agiqa/checkpoint"
	"github.com/agiqa/agiqa/checkpoint/lifecycle"
	"github.com/agiqa/agiqa/quality"
)

// Folder is a model repository on a disk that Triton sees too.
type Folder struct {
	dir    string
	others []string
}

var _ lifecycle.ModelFolder = (*Folder)(nil)

// NewFolder returns the repository in dir, which must exist. others are further
// repositories of the same Triton: a model that one of them has is not written
// again, since Triton refuses a name that it finds twice.
func NewFolder(dir string, others ...string) *Folder { return &Folder{dir: dir, others: others} }

// Has implements [lifecycle.ModelFolder].
func (f *Folder) Has(c quality.Checkpoint) (bool, error) {
	for _, dir := range append([]string{f.dir}, f.others...) {
		for _, model := range models(c) {
			_, err := os.Lstat(filepath.Join(dir, model))
			if err == nil {
				return true, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return false, err
			}
		}
	}
	return false, nil
}

// Write implements [lifecycle.ModelFolder].
func (f *Folder) Write(b *checkpoint.Bundle) error {
	for _, dir := range f.others {
		other := Folder{dir: dir}
		if has, err := other.Has(b.Checkpoint()); err != nil || has {
			return err
		}
	}
	return checkpoint.Materialize(b, f.dir)
}

// Remove implements [lifecycle.ModelFolder].
func (f *Folder) Remove(c quality.Checkpoint) error { return checkpoint.Remove(f.dir, c.Digest) }

// Tidy makes the repository hold the models of bundles and no others, for a
// folder that belongs to this process alone: a change may have been cut off.
// Nothing may be loaded from it yet.
func (f *Folder) Tidy(bundles []*checkpoint.Bundle) error {
	wanted := map[string]bool{}
	for _, b := range bundles {
		for _, model := range models(b.Checkpoint()) {
			wanted[model] = true
		}
	}
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return fmt.Errorf("model repository: %w", err)
	}
	for _, e := range entries {
		name := strings.TrimPrefix(e.Name(), ".")
		ours := strings.HasPrefix(name, "prompt_head_") || strings.HasPrefix(name, "clip_agiqa_") ||
			strings.HasPrefix(name, "prompt_panel_") // made anew when they are wanted
		if ours && !wanted[e.Name()] {
			if err := os.RemoveAll(filepath.Join(f.dir, e.Name())); err != nil {
				return err
			}
		}
	}
	for _, b := range bundles {
		err := f.Write(b)
		if quality.KindOf(err) == quality.KindConflict { // written by an earlier release, in another form
			if err = f.Remove(b.Checkpoint()); err == nil {
				err = f.Write(b)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}
